"""TensorBoard for a run, or for all runs of a folder, with the main charts on the first screen."""

import contextlib
import fnmatch
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path

from ppo.errors import PPOError
from ppo.files.folder import EVENTS, PROGRESS, FolderError, RunFolder
from ppo.params import ParamsError, load_run
from ppo.system.children import start
from ppo.system.signals import stop_interrupts
from ppo.system.streams import note, warn
from ppo.telemetry import progress
from ppo.telemetry.log import Log
from ppo.telemetry.scalars import POINTS, SCORE

# What a beginner needs first: is the score rising, and are the updates sound?
PINNED = (SCORE, POINTS, "train/approx_kl", "train/entropy_loss")
_CARDS = [{"plugin": "scalars", "tag": tag} for tag in PINNED]
FIRST_SCREEN = f"pinnedCards={urllib.parse.quote(json.dumps(_CARDS, separators=(',', ':')))}"
PICTURES = 100  # of one run; TensorBoard's own limit is 10

PACKAGES = str(Path(__file__).parents[2])  # the folder with this package


def show(logdir: Path, host: str | None = None, port: int | None = None) -> None:
    """Print the address of a TensorBoard, and serve until Ctrl-C. Raises FolderError as ``served``,
    and PPOError if TensorBoard ends by itself.
    """
    note("starting TensorBoard ...")
    with (
        contextlib.suppress(KeyboardInterrupt),  # also if it comes again
        stop_interrupts(),
        served(logdir, host, port) as (address, server),
    ):
        print(f"TensorBoard: {address}\nCtrl-C ends it", flush=True)
        raise PPOError(f"TensorBoard ended by itself, with exit code {server.wait()}")


@contextlib.contextmanager
def served(
    logdir: Path, host: str | None = None, port: int | None = None
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Serve in a silent process while the context lasts, and yield the address and the process. By
    default other machines cannot reach it, and the port is the first free one from 6006 on. Raises
    FolderError if there is nothing to show, or if no server can be started.
    """
    check(logdir)
    # -P: modules in the current folder, which may be a stranger's run, are not imported.
    command = [sys.executable, "-P", "-m", "ppo.report.tensorboard", FIRST_SCREEN]
    command += [f"--host={host}"] if host else []
    command += [f"--port={port}"] if port else []
    path = os.pathsep.join([PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory(prefix="ppo-board-") as folder:
        command += [_source(logdir, Path(folder)), f"--samples_per_plugin=images={PICTURES}"]
        with start(
            command,
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        ) as process:
            assert process.stderr is not None
            try:
                address = _address(process.stderr)
                # A pipe that nobody reads would stop the server once it is full.
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield address, process
            finally:
                process.kill()  # it has nothing to save, and may take ten seconds to end by itself


def check(logdir: Path) -> None:
    """Raise FolderError unless a folder contains, at some depth, what TensorBoard can show."""
    events = list(_below(logdir, EVENTS))
    if other := next((path for path in events if not path.is_file()), None):
        raise FolderError(f"{other}: not a regular file, which TensorBoard may read for ever")
    if not events and not _logs(logdir):
        raise FolderError(
            f"{logdir} holds no run that TensorBoard can show (no {EVENTS}, no {PROGRESS}); name a "
            "run's folder, or one with several runs, by --logdir=DIR"
        )


def _below(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the paths below a folder that match a pattern, also behind links. Links may form a
    circle, so each folder is visited once.
    """
    visited = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders.sort()
        yield from (Path(place, name) for name in fnmatch.filter([*folders, *files], pattern))


def _logs(logdir: Path) -> list[Path]:
    """Return the runs at and below a folder that have log entries and no event files. Warn of each
    log that cannot be read.
    """
    logs = []
    for run in sorted(path.parent for path in _below(logdir, PROGRESS)):
        try:
            logs += [run] if not any(run.glob(EVENTS)) and progress.numbers(run) else []
        except FolderError as error:
            warn(str(error))
    return logs


def _source(logdir: Path, place: Path) -> str:
    """Return the argument that names the runs by path. Convert logs without events in ``place``."""
    root, events, converted = logdir.resolve(), place / "events", place / "converted"
    if RunFolder(root).params.exists():
        events.mkdir()
        (events / root.name).symlink_to(root)  # the folder itself would be named "."
    else:
        events.symlink_to(root)
    for run in _logs(root):
        copy = converted / (root.name if run == root else run.relative_to(root))
        copy.mkdir(parents=True)
        columns, _ = progress.header(RunFolder(run).progress)
        log = Log(copy, [tag for tag in columns if tag != "step"], 0)
        with contextlib.suppress(ParamsError):
            log.settings(0, dict(load_run(RunFolder(run).params)))
        for row in progress.numbers(run):
            log.write(int(row.pop("step")), row)
        log.close()
    return f"--logdir_spec={events},{converted}" if converted.exists() else f"--logdir={events}"


def _address(lines: Iterable[str]) -> str:
    """Return the address that the server prints. Raises FolderError if it ends without one."""
    line = ""
    for line in lines:
        if match := re.search(r"TensorBoard \S+ at (http\S+)", line):
            return match[1]
    raise FolderError(f"TensorBoard cannot be started: {line.strip() or 'it ended at once'}")
