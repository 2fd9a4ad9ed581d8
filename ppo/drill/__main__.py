"""Failure drills on this machine: `python -m ppo.drill`.

Real runs in a temporary folder are killed, stopped, damaged, given a full disk or NaN rewards;
each row says whether a promise of docs/reliability.md was kept.
"""

import hashlib
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ppo import checkpoint
from ppo.drill.broken_envs import BROKEN_AT_STEP
from ppo.errors import ExitCode
from ppo.files.folder import RunFolder
from ppo.system import children
from ppo.system.arguments import argument_parser
from ppo.system.command import run_command
from ppo.system.streams import duration, say
from ppo.telemetry import progress
from ppo.telemetry.scalars import TIME
from ppo.workers.cluster import check_alone

KILLS = 3  # of the drill that kills a run

# Games of a few hundred frames, which end and are reseeded within a short run.
SHORT_PONG: dict[str, Any] = {
    "env_id": "PongNoFrameskip-v4",
    "network": "a3c",
    "num_envs": 2,
    "num_steps": 32,
    "num_epochs": 1,
    "num_minibatches": 2,
    "total_steps": 768,
    "max_frames_per_game": 300,
    "log_interval": 64,
    "checkpoint_interval": 128,
    "video_interval": 512,
    "diagnostics_interval": 256,
    "value_rescaling": "smoothed",
    "threads": 1,
    "seed": 5,
}
SHORT_CART_POLE: dict[str, Any] = {
    "env_id": "CartPole-v1",
    "network": "mlp",
    "value_gradient": "shared",
    "num_envs": 8,
    "num_steps": 32,
    "total_steps": 2048,
    "log_interval": 256,
    "checkpoint_interval": 256,
    "checkpoints_kept": 4,
    "clip_rewards": False,
    "threads": 1,
    "seed": 5,
}

_STARTED: list[subprocess.Popen] = []


def expect(fact: bool, otherwise: str) -> None:
    """Raise AssertionError unless a promise was kept."""
    if not fact:
        raise AssertionError(otherwise)


def start(logdir: Path, settings: dict | None, limit_bytes: int | None = None) -> subprocess.Popen:
    """Start the command. With settings it is a new run, otherwise a resume."""

    def limit() -> None:
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    process = children.start(
        [*children.RUN_ATARI, f"--logdir={logdir}", beginning(logdir, settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limit,
    )
    _STARTED.append(process)
    return process


def beginning(logdir: Path, settings: dict | None) -> str:
    """Return the argument that begins a run with a new file of settings, or resumes it."""
    if settings is None:
        return "--resume"
    pfile = logdir.parent / f"{logdir.name}.json"
    pfile.write_text(json.dumps(settings))
    return f"--pfile={pfile}"


def run(logdir: Path, settings: dict | None, limit_bytes: int | None = None) -> tuple[int, str]:
    """Run the command to its end. Return the exit code and the output."""
    process = start(logdir, settings, limit_bytes)
    output, _ = process.communicate()
    return process.returncode, output


def fingerprint(logdir: Path) -> str:
    """Return a hash of a run's results; the scalars of time and system are left out."""
    folder = RunFolder(logdir)
    newest = checkpoint.newest(folder)
    digest = hashlib.sha256()
    for name in sorted(newest.arrays):
        digest.update(name.encode() + newest.arrays[name].tobytes())
    digest.update(f"{newest.step} {newest.trainer.model_dump_json()}".encode())
    if (folder.checkpoints / checkpoint.BEST).exists():  # once a game has ended
        best = checkpoint.chosen(folder, "best")
        digest.update(f"best {best.step}".encode())
        for array in best.group("weights"):
            digest.update(array.tobytes())
    for row in progress.numbers(logdir):
        steady = {k: v for k, v in row.items() if not k.startswith(("time/", "system/"))}
        digest.update(json.dumps(steady).encode())
    for path in sorted(folder.replays.glob("step-*.json")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def unbroken(folder: Path, settings: dict) -> str:
    """Return the fingerprint of an undisturbed run."""
    code, output = run(folder / "unbroken", settings)
    expect(code == ExitCode.DONE, f"the run ended with exit code {code}: {output}")
    return fingerprint(folder / "unbroken")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def truncate(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drill_kill(folder: Path) -> str:
    """Kill -9 at random moments. The result must equal the unbroken run's, bit for bit."""
    wanted, log = unbroken(folder, SHORT_PONG), progress.numbers(folder / "unbroken")
    between = (log[-1][TIME] - log[0][TIME]) / len(log)  # seconds from one entry to the next
    for number in range(KILLS):
        logdir, logged = folder / f"killed-{number}", random.randrange(1, len(log) // 2)
        process = start(logdir, SHORT_PONG)
        _wait_for_log(process, logdir, logged)
        time.sleep(random.uniform(0.0, between))  # it may be saving then
        process.kill()
        process.communicate()
        code, output = run(logdir, None)
        expect(code == ExitCode.DONE, f"the resumed run ended with exit code {code}: {output}")
        after = f"killed after {logged} log entries"
        expect(process.returncode == -signal.SIGKILL, f"{after}, it was already done")
        expect(fingerprint(logdir) == wanted, f"{after}, it ended differently")
    return f"killed {KILLS} times at random: weights, games and scalars as in the unbroken run"


def drill_stop(folder: Path) -> str:
    """Check that SIGTERM ends a run with exit code 3 within ten seconds."""
    return _stop_at(folder / "stopped", SHORT_CART_POLE | {"total_steps": 10**6}, points=1)


def drill_stop_stuck(folder: Path) -> str:
    """Check that SIGTERM saves whole iterations if a game hangs in a rollout or an evaluation."""
    stuck = SHORT_CART_POLE | {
        "env_id": "ppo.drill.broken_envs:StuckCartPole-v0",
        "checkpoint_interval": 10**6,
    }
    batch = stuck["num_steps"] * stuck["num_envs"]
    whole = BROKEN_AT_STEP // stuck["num_steps"]
    report = _stop_at(folder / "rollout", stuck, points=whole, step=whole * batch)
    # The evaluation's games also hang in step 100; the log entry of step 512 waits.
    evaluated = stuck | {"evaluation_interval": 2 * batch, "evaluation_games": 1000}
    return report + "; " + _stop_at(folder / "evaluation", evaluated, points=1, step=2 * batch)


def _wait_for_log(process: subprocess.Popen, logdir: Path, entries: int) -> None:
    """Wait until a run's log has this many entries."""
    while len(progress.numbers(logdir)) < entries:
        expect(process.poll() is None, f"the run ended before its log had {entries} entries")
        time.sleep(0.1)


def _stop_at(logdir: Path, settings: dict, points: int, step: int | None = None) -> str:
    """Stop a run after this many log entries. It must end in time, and have saved a given step."""
    process = start(logdir, settings)
    _wait_for_log(process, logdir, points)
    time.sleep(3)  # a game that hangs does so by then
    asked = time.monotonic()
    process.terminate()
    output, _ = process.communicate()
    took = time.monotonic() - asked
    expect(process.returncode == ExitCode.STOPPED, f"exit code {process.returncode}: {output}")
    expect(took < 10, f"it took {took:.1f} s")
    saved = checkpoint.newest(RunFolder(logdir)).step
    expect(step in (None, saved), f"the checkpoint is of step {saved:,}, not {step}")
    return f"exit code 3 after {took:.1f} s; {output.splitlines()[-1]}"


def drill_damage(folder: Path) -> str:
    """Check that a damaged checkpoint is named and skipped. If none is valid, change nothing."""
    logdir = folder / "damaged"
    wanted = unbroken(folder, SHORT_CART_POLE)
    shutil.copytree(folder / "unbroken", logdir)
    *_, second, newest = sorted(RunFolder(logdir).checkpoints.glob("step-*.ckpt"))
    truncate(newest)
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 1
    second.write_bytes(content)
    code, output = run(logdir, None)
    expect(code == ExitCode.DONE, f"exit code {code}: {output}")
    expect(newest.name in output and second.name in output, f"not named: {output}")
    expect(fingerprint(logdir) == wanted, "it ended differently")
    for path in RunFolder(logdir).checkpoints.glob("*.ckpt"):  # the best one too
        truncate(path)
    before = snapshot(logdir)
    code, output = run(logdir, None)
    expect(code == ExitCode.FAILED, f"exit code {code} with no valid checkpoint: {output}")
    expect(snapshot(logdir) == before, "files were changed")
    return "two damaged ones named and skipped; with all damaged: exit code 1, nothing changed"


def drill_full_disk(folder: Path) -> str:
    """Check that an unwritable file ends the run with one message and saved files stay valid."""
    logdir = folder / "full"
    code, output = run(logdir, SHORT_CART_POLE | {"total_steps": 10**6}, limit_bytes=80_000)
    expect(code == ExitCode.FAILED, f"exit code {code}: {output}")
    expect("File too large" in output and "Traceback" not in output, output)
    left = list(logdir.rglob("*.partial*"))
    expect(not left, f"left behind: {left}")
    step = checkpoint.newest(RunFolder(logdir)).step
    return f"exit code 1: {output.splitlines()[-1]}; checkpoint of step {step:,} is valid"


def drill_poison(folder: Path) -> str:
    """Check that a reward that is not a number never reaches the weights."""
    logdir = folder / "poisoned"
    poisoned = SHORT_CART_POLE | {"env_id": "ppo.drill.broken_envs:PoisonedCartPole-v0"}
    code, output = run(logdir, poisoned)
    expect(code == ExitCode.DIVERGED, f"exit code {code}: {output}")
    arrays = checkpoint.load_weights(logdir)
    expect(all((array == array).all() for array in arrays), "a weight is NaN")
    expect(any(logdir.glob("diverged-*.npz")), "the batch was not saved")
    return "exit code 4, weights valid, the batch saved"


DRILLS: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("kill -9", drill_kill),
    ("SIGTERM", drill_stop),
    ("SIGTERM while a game hangs", drill_stop_stuck),
    ("damaged checkpoints", drill_damage),
    ("full disk", drill_full_disk),
    ("NaN rewards", drill_poison),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all drills and print a row for each. Return 0 only if every promise was kept."""
    argument_parser("ppo.drill", __doc__).parse_args(arguments)
    return run_command(_all_drills, stopped="stopped")


def _all_drills() -> ExitCode:
    check_alone()
    failed = 0
    for number, (name, drill) in enumerate(DRILLS, 1):
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="ppo-drill-") as folder:
                try:
                    report, kept = drill(Path(folder)), True
                finally:
                    for process in _STARTED:
                        process.kill()
                        process.wait()
                    _STARTED.clear()
        except Exception as error:  # of any kind: the promise was not kept
            report, kept = f"{type(error).__name__}: {error}", False
        failed += not kept
        took = duration(time.monotonic() - began)
        mark = "kept  " if kept else "BROKEN"
        say(f"{number} {mark} {name} ({took}): {report}")
    return ExitCode.FAILED if failed else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
