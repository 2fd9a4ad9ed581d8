"""A run's folder: its layout, its names, and whether it can be used."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ppo.errors import Refused
from ppo.files.atomic import PARTIAL
from ppo.files.held import with_names
from ppo.system.reading import LONE_SURROGATE

LOCK = ".lock"
ORIGIN = "origin.json"
FORK_START = "origin.ckpt"
PARAMS = "params.json"
CHECKPOINTS = "checkpoints"
PROGRESS = "progress.csv"
EVENTS = "events.out.tfevents.*"  # the pattern of TensorBoard's files

# Errors of using a folder that no longer exists.
GONE = frozenset([errno.ENOENT, errno.ESTALE])


class FolderError(Refused):
    """A run's folder or file cannot be used for the request. The message says why."""


class FolderGone(OSError):
    """A run's folder was removed while a process wrote into it."""

    def __init__(self, logdir: Path):
        super().__init__(f"{logdir} was moved or removed; nothing more is saved")


class RunFolder:
    """The files of a run."""

    def __init__(self, path: Path):
        self.path = path
        self.params = path / PARAMS  # the resolved settings
        self.origin = path / ORIGIN  # of a fork: its run and step, and what it changed
        self.fork_start = path / FORK_START  # where a fork begins, until it has a checkpoint
        self.checkpoints = path / CHECKPOINTS
        self.replays = path / "replays"  # the episodes, as files
        self.videos = path / "videos"
        self.evaluations = path / "evaluations.jsonl"  # one line for each evaluation
        self.progress = path / PROGRESS  # one row for each log entry
        # The folders whose old files a run removes.
        self.inner_folders = (self.checkpoints, self.replays, self.videos)

    @property
    def name(self) -> Path:
        """Present name of the folder, for people."""
        return Path(with_names(self.path))

    @property
    def has_saved(self) -> bool:
        """Whether the run has saved anything, even if its checkpoints were moved away."""
        return self.progress.exists() or any(self.checkpoints.glob("*.ckpt"))

    @property
    def is_gone(self) -> bool:
        """Whether the folder was removed, or emptied, while it is held."""
        try:
            self.params.stat()
        except OSError as error:
            return error.errno in GONE and self.name != self.path  # as a held folder has
        return False


def check_unmoved(folder: RunFolder, logdir: Path) -> None:
    """Raise FolderGone unless ``logdir`` still leads to a held folder."""
    with suppress(OSError):
        if folder.path.samefile(logdir):
            return
    raise FolderGone(logdir)


def check_new(logdir: Path) -> None:
    """Raise FolderError unless a new run can begin in ``logdir``; nothing is created."""
    with usable(logdir):
        name = RunFolder(logdir).name
        if logdir.is_dir() and (content := [*filter(_is_content, logdir.iterdir())]):
            run = RunFolder(logdir).params
            reason = f"is not empty, it has {min(content).name};"
            if content != [run] and run.exists():
                reason = "holds a run; resume it with --resume (in Python: ppo.train.resume), or"
            raise FolderError(f"{name} {reason} choose a free name, such as {free_name(name)}")
        check_writable(logdir)


def check_writable(*folders: Path) -> None:
    """Raise FolderError unless files can be made in folders that exist or can be made. Raises
    OSError for a name that is too long.
    """
    for folder in folders:
        _check_name(folder)
        existing = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
        if not existing.is_dir():
            raise FolderError(f"{with_names(existing)} is a file, not a folder")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise FolderError(f"{with_names(existing)} does not allow writing; use another folder")
        for name in folder.parts:  # only a look-up shows whether one is too long
            with suppress(FileNotFoundError):
                (existing / name).lstat()


def check_parent(path: Path) -> None:
    """Raise FolderError unless a file can be made in the folder that its path names."""
    if path.is_dir():
        raise FolderError(f"{path} is a folder; name a file")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise FolderError(f"{path} cannot be made: there is no folder {parent}")
    check_writable(parent)


def check_run(logdir: Path) -> None:
    """Raise FolderError unless ``logdir`` holds a run; nothing is created."""
    with usable(logdir):
        if not RunFolder(logdir).params.is_file():
            runs = sorted(str(path.parent) for path in logdir.glob(f"*/{PARAMS}"))
            remedy = "start one with --pfile=FILE or --env=ID"
            if runs:
                remedy = f"name one of the {len(runs)} below it, such as {', '.join(runs[:3])}"
            raise FolderError(f"{logdir} holds no run (no {PARAMS}); {remedy}")


@contextmanager
def usable(logdir: Path) -> Iterator[None]:
    """Turn an operating system error about a path into a FolderError."""
    try:
        _check_name(logdir)
        yield
    except OSError as error:
        raise FolderError(f"{logdir} cannot be used: {error.strerror}") from error


def _check_name(folder: Path) -> None:
    """Raise FolderError for a name with NUL, which no folder has, and for a name that is not UTF-8,
    as the files of a run and its pages are.
    """
    if "\0" in str(folder):
        raise FolderError(f"{str(folder)!r} cannot be used: it has a NUL character")
    if LONE_SURROGATE.search(path := str(folder.absolute())):
        raise FolderError(f"{path} cannot be used: the name is not UTF-8; rename the folder")


def _is_content(path: Path) -> bool:
    """Whether a file is more than the remains of a run that ended before its first checkpoint."""
    if path.name == CHECKPOINTS and path.is_dir():
        return any(map(_is_content, path.iterdir()))
    if path.name in (PARAMS, ORIGIN, FORK_START):  # without a lock it belongs to the user
        return not os.path.lexists(path.with_name(LOCK))
    return path.name != LOCK and not PARTIAL.fullmatch(path.name)


@contextmanager
def numbered(env_id: str) -> Iterator[Path]:
    """Create the first free folder of ``runs/GAME-1`` and so on. Remove it if no run has begun, and
    ``runs`` too if it is new.
    """
    name = re.sub(r"(NoFrameskip|Deterministic)?-v\d+$", "", re.split("[:/]", env_id)[-1])
    wanted = Path("runs", name or "run")
    is_new = not os.path.lexists(wanted.parent)
    with usable(wanted):
        wanted.parent.mkdir(exist_ok=True)
        while True:
            logdir = free_name(wanted, first=1)
            with suppress(FileExistsError):  # another run began there meanwhile
                logdir.mkdir()
                break
    try:
        yield logdir
    finally:
        if not os.path.lexists(RunFolder(logdir).params):
            with suppress(OSError):
                (logdir / LOCK).unlink(missing_ok=True)
                logdir.rmdir()
                if is_new:
                    wanted.parent.rmdir()


def free_name(logdir: Path, first: int = 2) -> Path:
    """Return the folder's name with the first free number appended."""
    logdir, number = named(logdir), first
    while os.path.lexists(free := logdir.with_name(f"{logdir.name}-{number}")):
        number += 1
    return free


def named(logdir: Path) -> Path:
    """Return a folder's path with a name at its end, unlike "." and ".."."""
    if logdir.name in ("", ".."):
        logdir = Path(os.path.abspath(logdir))
    return logdir if logdir.name else logdir / "run"  # the root of all folders
