"""Does looking on change a training? `--evaluate` and `--watch` at random moments of a running one.

python -m benchmarks.bystanders --visits=20

Trains twice: undisturbed, then with visits of all kinds, a few at a time. Prints a line for each
visit and a sum; exit code 0 only if none failed while the training ran, and the training ended bit
for bit as the undisturbed one: weights, optimiser, games, and every scalar but those of time and
system.
"""

import argparse
import itertools
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ppo.files.folder import RunFolder
from ppo.process import children
from ppo.process.children import RUN_ATARI
from ppo.study import drill

KINDS = (
    ["--evaluate", "1"],
    ["--watch", "1"],
    ["--evaluate", "2", "--policy=greedy"],
    ["--watch", "1", "--policy=both", "--checkpoint=best"],
    ["--evaluate", "1", "--checkpoint=best", "--seed=1"],
)


def main() -> int:
    """Train undisturbed, train disturbed, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--visits", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60_000, help="of each training")
    options = parser.parse_args()
    settings = drill.SHORT_PONG | {
        "total_steps": options.steps,
        "log_interval": 1024,
        "checkpoint_interval": 256,
        "checkpoints_kept": 1,
        "evaluation_interval": options.steps // 16,
        "evaluation_games": 2,
        "video_interval": options.steps // 4,
    }
    with drill.temporary_folder() as folder:
        wanted, seconds = drill.unbroken(folder, settings)
        between = seconds * settings["checkpoint_interval"] / options.steps
        print(f"undisturbed: {seconds:.0f} s, a checkpoint every {between:.1f} s", flush=True)
        done = _disturbed(folder / "disturbed", settings, options.visits, options.at_once)
        same = drill.fingerprint(folder / "disturbed") == wanted
    met = [well for well, running in done if running]
    print(f"{len(met)} visits while the training ran, {met.count(False)} failed")
    print(f"it ended {'as the undisturbed one, bit for bit' if same else 'DIFFERENTLY'}")
    return 0 if same and all(met) and len(met) >= options.visits else 1


def _disturbed(logdir: Path, settings: dict, visits: int, at_once: int) -> list[tuple[bool, bool]]:
    """Train with visitors: of each, whether it went well, and while the training ran."""
    training = drill.start(logdir, settings)
    best = RunFolder(logdir).checkpoints / "best.ckpt"
    while not best.exists() and training.poll() is None:
        time.sleep(0.1)

    def visit(number: int, kind: list[str]) -> tuple[bool, bool]:
        time.sleep(random.uniform(0, 5))
        command = [*RUN_ATARI, f"--logdir={logdir}", *kind]
        done = children.run(command, capture_output=True, text=True, check=False)
        running = training.poll() is None
        said = "well" if done.returncode == 0 else f"FAILED, exit code {done.returncode}"
        when = "while the training ran" if running else "after the training"
        print(f"{number} {' '.join(kind)}: {said} {when} {done.stderr.strip()}", flush=True)
        return done.returncode == 0 and not done.stderr, running

    with ThreadPoolExecutor(at_once) as pool:
        done = list(pool.map(visit, range(1, visits + 1), itertools.cycle(KINDS)))
    output, _ = training.communicate()
    drill.expect(training.returncode == 0, f"the training failed: {output}")
    return done


if __name__ == "__main__":
    sys.exit(main())
