"""TensorBoard for a run, or for all runs of a folder, with the main charts on the first screen."""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path

from ppo.files.folder import FolderError, RunFolder
from ppo.system.children import end, start
from ppo.system.signals import stop_interrupts
from ppo.telemetry.scalars import POINTS, SCORE

# What a beginner needs first: is the score rising, and are the updates sound?
PINNED = (
    SCORE,
    POINTS,
    "train/approx_kl",
    "train/entropy_loss",
)
PICTURES = 100  # of one run; TensorBoard's own limit is 10


def show(logdir: Path) -> None:
    """Print the address of a TensorBoard, and serve until Ctrl-C. Raises FolderError."""
    with stop_interrupts(), served(logdir) as address, contextlib.suppress(KeyboardInterrupt):
        print(f"TensorBoard: {address}\nCtrl-C ends it", flush=True)
        threading.Event().wait()


@contextlib.contextmanager
def served(logdir: Path) -> Iterator[str]:
    """Serve while the context lasts, and yield the address. Raises FolderError if there is nothing
    to show, or if no server can be started.
    """
    check(logdir)
    with tempfile.TemporaryDirectory(prefix="ppo-board-") as folder:
        root = logdir
        if RunFolder(logdir).params.exists():
            # TensorBoard names a run by its path below the folder: the folder itself would be ".".
            root = Path(folder)
            (root / logdir.resolve().name).symlink_to(logdir.resolve())
        with _server(root) as address:
            yield f"{address}?pinnedCards={_pinned()}#timeseries"


def check(logdir: Path) -> None:
    """Raise FolderError unless a folder contains, at some depth, what TensorBoard reads."""
    events = list(logdir.rglob("events.out.tfevents.*"))
    if other := next((path for path in events if not path.is_file()), None):
        raise FolderError(f"{other}: not a regular file, which TensorBoard may read for ever")
    if not events:
        raise FolderError(
            f"{logdir} holds no run that TensorBoard can show (no events.out.tfevents.*); name a "
            "run's folder, or one with several runs, by --logdir=DIR"
        )


@contextlib.contextmanager
def _server(root: Path) -> Iterator[str]:
    """Run a silent server in a separate process while the context lasts, and yield its address."""
    command = [sys.executable, "-m", "ppo.report.tensorboard", f"--logdir={root}"]
    command.append(f"--samples_per_plugin=images={PICTURES}")
    with start(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stderr is not None
        try:
            address = _address(process.stderr)
            # A pipe that nobody reads would stop the server once it is full.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield address
        finally:
            end(process)


def _address(said: Iterable[str]) -> str:
    """Return the address that the server prints. Raises FolderError if it ends without one."""
    line = ""
    for line in said:
        if found := re.search(r"TensorBoard \S+ at (http\S+)", line):
            return found[1]
    raise FolderError(f"TensorBoard cannot be started: {line.strip() or 'it ended at once'}")


def _pinned() -> str:
    cards = [{"plugin": "scalars", "tag": tag} for tag in PINNED]
    return urllib.parse.quote(json.dumps(cards, separators=(",", ":")))
