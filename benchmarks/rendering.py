"""How fast is a video with the panel made, and what memory does it take?

    python -m benchmarks.rendering --logdir=pretrained/pong --minutes 0.5 3

For each length, in a process of its own on one core, a game of at most so many minutes is played
and rendered as ``--watch`` does. Prints a JSON line for each: pictures per second by the clock and
by the time that the core worked on it, ffmpeg's included, which other work on the machine disturbs
less; and the peak of the process's memory in MiB, and how much of it the rendering added. The
console shows 60 pictures a second.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from ppo.files.folder import RunFolder
from ppo.process import children
from ppo.process.arguments import expanded

FRAMES_PER_MINUTE = 3600


def main() -> None:
    """Measure each length."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logdir", type=expanded, default=Path("pretrained/pong"))
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.5, 3])
    parser.add_argument("--alone", action="store_true", help="measure in this process")
    options = parser.parse_args()
    for minutes in options.minutes:
        if options.alone:
            measure(options.logdir, round(minutes * FRAMES_PER_MINUTE))
        else:
            command = [sys.executable, "-m", "benchmarks.rendering", f"--logdir={options.logdir}"]
            children.run([*command, f"--minutes={minutes}", "--alone"], check=True)


def measure(logdir: Path, frames: int) -> None:
    """Play a game of at most so many frames, render it, print a line."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])

    from ppo.play.agent import load_agent
    from ppo.play.evaluate import evaluate
    from ppo.play.render import record
    from ppo.play.replay import of_run

    agent = load_agent(RunFolder(logdir))
    changes = {"max_frames_per_game": frames, "threads": 1}
    params = agent.params.model_copy(update=changes)
    (episode,) = evaluate(agent.policy, params, 1, agent.step).episodes
    replay = of_run(episode, params, step=agent.step)
    before, began, worked = _peak(), time.perf_counter(), _worked()
    with tempfile.TemporaryDirectory() as folder:
        pictures = record(replay, Path(folder, "game.mp4"), agent.policy)
    line = {
        "pictures": pictures,
        "per_second": round(pictures / (time.perf_counter() - began), 1),
        "per_second_of_the_core": round(pictures / (_worked() - worked), 1),
        "peak_mib": round(_peak()),
        "added_mib": round(_peak() - before, 1),
    }
    print(json.dumps(line), flush=True)


def _worked() -> float:
    """Seconds that this process and its children have computed."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
