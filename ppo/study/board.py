"""TensorBoard for a run, or for all runs of a folder, with the main charts on the first screen."""

import contextlib
import io
import json
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from tensorboard import program

from ppo.files.folder import FolderError, RunFolder

# What a newcomer looks at first: is the score rising, and are the updates sound?
PINNED = (
    "rollout/ep_rew_mean",
    "rollout/points_per_step",
    "train/approx_kl",
    "train/entropy_loss",
)
PICTURES = 100  # of one run; TensorBoard's own limit is 10


def show(logdir: Path) -> None:
    """Print the address of a TensorBoard, and serve until Ctrl-C. Raises FolderError."""
    with served(logdir) as address:
        print(f"TensorBoard: {address}\nCtrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


@contextlib.contextmanager
def served(logdir: Path) -> Iterator[str]:
    """Serve while the context lasts; gives the address. Raises FolderError if there is nothing to
    show, or if no server can be started.
    """
    check(logdir)
    with tempfile.TemporaryDirectory(prefix="ppo-board-") as folder:
        root = logdir
        if RunFolder(logdir).params.exists():
            # TensorBoard names a run by its path below its folder: one that is it would be ".".
            root = Path(folder)
            (root / logdir.resolve().name).symlink_to(logdir.resolve())
        yield f"{_launch(root)}?pinnedCards={_pinned()}#timeseries"


def check(logdir: Path) -> None:
    """Raise FolderError unless a folder holds, at some depth, what TensorBoard reads."""
    if next(logdir.rglob("events.out.tfevents.*"), None) is None:
        raise FolderError(
            f"{logdir} holds no run that TensorBoard can show (no events.out.tfevents.*); name a "
            "run's folder, or one with several runs, by --logdir=DIR"
        )


def _launch(root: Path) -> str:
    """Start a server in a thread of its own, in silence."""
    server = program.TensorBoard()
    arguments = ["--logdir", str(root), "--samples_per_plugin", f"images={PICTURES}"]
    server.configure(argv=["tensorboard", *arguments])
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return server.launch()
    except program.TensorBoardServerException as error:
        raise FolderError(f"TensorBoard cannot be started: {error.msg}") from error


def _pinned() -> str:
    cards = [{"plugin": "scalars", "tag": tag} for tag in PINNED]
    return urllib.parse.quote(json.dumps(cards, separators=(",", ":")))
