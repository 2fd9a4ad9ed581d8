"""A run's folder: its layout, its lock, and atomic writes."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOCK = ".lock"


class FolderError(Exception):
    """The folder cannot be used for what was asked; the message says why and what to do."""


class HoldsRun(FolderError):
    """A new run cannot begin in the folder of another; ``free`` is a free name."""

    def __init__(self, logdir: Path):
        self.logdir, self.free = logdir, free_name(logdir)
        super().__init__(f"{logdir} holds a run; resume it, or choose {self.free}, which is free")


class HoldsNoRun(FolderError):
    """There is no run to resume, evaluate or watch."""

    def __init__(self, logdir: Path):
        self.logdir = logdir
        super().__init__(f"{logdir} holds no run (no params.json)")


@dataclass(frozen=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def params(self) -> Path:
        """The resolved settings."""
        return self.path / "params.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def replays(self) -> Path:
        """Folder of the episodes, as files."""
        return self.path / "replays"

    @property
    def videos(self) -> Path:
        """Folder of the videos."""
        return self.path / "videos"

    @property
    def evaluations(self) -> Path:
        """One JSON line for each evaluation."""
        return self.path / "evaluations.jsonl"

    @property
    def progress(self) -> Path:
        """One CSV row for each log entry."""
        return self.path / "progress.csv"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole and flushed to the disk, or not at all."""
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename survives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_new(logdir: Path) -> None:
    """Raise FolderError unless a new run can begin in ``logdir``; nothing is created."""
    if logdir.exists() and not logdir.is_dir():
        raise FolderError(f"{logdir} is a file, not a folder")
    if logdir.is_dir() and any(map(_counts, logdir.iterdir())):
        if RunFolder(logdir).params.exists():
            raise HoldsRun(logdir)
        raise FolderError(f"{logdir} is not empty; choose a free name, such as {free_name(logdir)}")
    parent = next(p for p in (logdir, *logdir.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise FolderError(f"{logdir} cannot be created: {parent} does not allow writing")


def check_run(logdir: Path) -> None:
    """Raise FolderError unless ``logdir`` holds a run; nothing is created."""
    if not RunFolder(logdir).params.is_file():
        raise HoldsNoRun(logdir)


@contextmanager
def owned(logdir: Path) -> Iterator[RunFolder]:
    """Lock the folder while the context lasts. Raises FolderError if another process holds it.

    The lock is the kernel's, so it ends with the process, however that ends.
    """
    try:
        logdir.mkdir(parents=True, exist_ok=True)
        lock = open(logdir / LOCK, "a+b")  # noqa: SIM115 (held as long as the context)
    except OSError as error:
        raise FolderError(f"{logdir} cannot be used: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FolderError(f"{logdir} is in use by another process; wait for it") from error
        for partial in logdir.rglob(".*.partial*"):  # of a process that was killed
            partial.unlink()
        yield RunFolder(logdir)


def _counts(path: Path) -> bool:
    """Whether a file is more than the lock or a partial file of a process that was killed."""
    return path.name != LOCK and not (path.name.startswith(".") and ".partial" in path.name)


def free_name(logdir: Path) -> Path:
    """The folder's name with the first free number appended."""
    number, logdir = 2, Path(os.path.abspath(logdir)) if logdir.name in ("", "..") else logdir
    while (free := logdir.with_name(f"{logdir.name}-{number}")).exists():
        number += 1
    return free
