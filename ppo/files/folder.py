"""A run's folder: its layout, its lock, and atomic writes."""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ppo.errors import Refused
from ppo.files.held import held, is_lost, with_names
from ppo.system.private import private
from ppo.system.reading import LONE_SURROGATE

LOCK = ".lock"
ORIGIN = "origin.json"
FORK_START = "origin.ckpt"
PARAMS = "params.json"
CHECKPOINTS = "checkpoints"
PROGRESS = "progress.csv"
EVENTS = "events.out.tfevents.*"  # the pattern of TensorBoard's files

# Names of this package's files until they are whole.
PARTIAL = re.compile(r"\.ppo-.+\.partial(\.\w+)?")

# How a lock's file or folder is opened: never through a link to a file, nor waiting for a pipe.
LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
LOCKED_FOLDER = os.O_RDONLY | os.O_DIRECTORY

# Errors of writing into a read-only folder.
READ_ONLY = frozenset([errno.EACCES, errno.EPERM, errno.EROFS])

# Errors of locking on file systems that do not lock such a file or folder.
UNLOCKABLE = frozenset([errno.EBADF, errno.ENOLCK])

# Errors of flushing a folder on file systems that cannot.
UNFLUSHABLE = frozenset([errno.EINVAL, errno.ENOTSUP])

# Errors of opening what is not a plain file, or not a folder.
WRONG_KIND = frozenset([errno.EISDIR, errno.ELOOP, errno.ENOTDIR])

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


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a name for a new file or folder that replaces ``path`` unless there is an error."""
    partial = path.with_name(f".ppo-{secrets.token_hex(4)}.partial{suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        _remove(partial)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole and flushed to the disk, or not at all."""
    with naming(path), replacing(path) as partial, open(partial, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:  # so the new name survives a power cut
        os.fsync(folder)
    except OSError as error:
        if error.errno not in UNFLUSHABLE:
            raise
    finally:
        os.close(folder)


def unshare(path: Path) -> None:
    """Replace a link to a file, if there is one, by a copy, before the file is changed in place.
    Otherwise the change would reach the files of another folder.
    """
    if path.exists() and (path.is_symlink() or path.stat().st_nlink > 1):
        write_whole(path, path.read_bytes())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError name the file, because the error of a full disk names none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def check_new(logdir: Path) -> None:
    """Raise FolderError unless a new run can begin in ``logdir``; nothing is created."""
    with _usable(logdir):
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
    with _usable(logdir):
        if not RunFolder(logdir).params.is_file():
            runs = sorted(str(path.parent) for path in logdir.glob(f"*/{PARAMS}"))
            remedy = "start one with --pfile=FILE or --env=ID"
            if runs:
                remedy = f"name one of the {len(runs)} below it, such as {', '.join(runs[:3])}"
            raise FolderError(f"{logdir} holds no run (no {PARAMS}); {remedy}")


@contextmanager
def owned(logdir: Path) -> Iterator[RunFolder]:
    """Lock the folder while the context lasts, to write the log. Raises FolderError if another
    process holds it, or if it is not writable.

    The kernel's locks end with the process, however that ends. There are two locks: the folder,
    because ``.lock`` could be removed; and ``.lock``, because some network file systems cannot lock
    a folder. Data is written into the locked folder even if it is moved. If it is removed,
    FolderGone is raised.
    """
    with ExitStack() as locks:
        with _usable(logdir):
            logdir.mkdir(parents=True, exist_ok=True)
            folder = locks.enter_context(_held(logdir))
            _lock(folder.path, LOCKED_FOLDER, locks, optional=UNLOCKABLE)
            _lock(folder.path / LOCK, LOCK_FILE, locks)
            _check_inner_folders(folder)
        _remove_partials(folder)
        yield folder


@contextmanager
def visited(logdir: Path) -> Iterator[RunFolder]:
    """Use a folder that another process may own, to read the run and to add files outside the log.
    While the context lasts, a run that starts in this folder leaves partial files alone. Data is
    written into this folder even if it is moved. If it is removed, FolderGone is raised.
    """
    with ExitStack() as locks:
        with _usable(logdir):
            folder = locks.enter_context(_held(logdir))
            optional = UNLOCKABLE | READ_ONLY | {errno.ENOENT}
            _lock(folder.checkpoints, LOCKED_FOLDER, locks, fcntl.LOCK_SH, optional)
        yield folder


@contextmanager
def _held(logdir: Path) -> Iterator[RunFolder]:
    """Hold a run's folder. Raises FolderGone for errors caused by its removal."""
    with held(logdir) as path, while_there(RunFolder(path), lambda: is_lost(path)):
        yield RunFolder(path)


@contextmanager
def while_there(folder: RunFolder, is_gone: Callable[[], bool] | None = None) -> Iterator[None]:
    """Turn ENOENT and ESTALE into FolderGone if the run's folder was removed or emptied.
    ``is_gone`` checks that; the default check takes a folder without settings as emptied.
    """
    try:
        yield
    except OSError as error:
        if error.errno in GONE and (is_gone() if is_gone else folder.is_gone):
            raise FolderGone(folder.name) from error
        raise


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let one process at a time be in this context for a file, which it may replace."""
    with ExitStack() as locks:
        lock_file = path.with_name(f".{path.name}{LOCK}")
        _lock(lock_file, LOCK_FILE, locks, fcntl.LOCK_EX, UNLOCKABLE)
        yield


def _lock(
    path: Path,
    flags: int,
    locks: ExitStack,
    operation: int = fcntl.LOCK_EX | fcntl.LOCK_NB,
    optional: frozenset[int] = frozenset(),
) -> None:
    """Lock a file or folder until ``locks`` is closed. Errors in ``optional`` do not matter."""
    try:
        handle = os.open(path, flags, 0o666)
        private.add(handle)
        locks.callback(os.close, handle)
        locks.callback(private.discard, handle)
        fcntl.flock(handle, operation)
    except BlockingIOError as error:
        folder = path.parent if path.name == LOCK else path
        raise FolderError(
            f"{with_names(folder)} is in use by another process; wait for it"
        ) from error
    except OSError as error:
        if error.errno in WRONG_KIND:
            kind = "folder" if flags & os.O_DIRECTORY else "plain file"
            raise FolderError(f"{with_names(path)} is not a {kind}; move it away") from error
        if error.errno not in optional:
            raise


def _check_inner_folders(folder: RunFolder) -> None:
    """Raise FolderError if a name of a run's inner folders belongs to something else, or is a link
    into another run, whose files this run would remove.
    """
    for inner in filter(os.path.lexists, folder.inner_folders):
        if not inner.is_dir():
            raise FolderError(f"{with_names(inner)} leads to no folder; move it away")
        run = inner.resolve().parent
        if inner.is_symlink() and os.path.exists(run / PARAMS) and not run.samefile(folder.path):
            raise FolderError(f"{with_names(inner)} leads into the run {run}; remove the link")


def _remove_partials(folder: RunFolder) -> None:
    """Remove what a killed process left behind, unless there are visitors, who may be writing."""
    with ExitStack() as locks, suppress(OSError, FolderError):
        optional = UNLOCKABLE | {errno.ENOENT}
        _lock(folder.checkpoints, LOCKED_FOLDER, locks, optional=optional)
        for inner in (folder.path, *folder.inner_folders):
            with suppress(OSError):
                for path in list(inner.iterdir()):
                    if PARTIAL.fullmatch(path.name):
                        _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that it has, as far as that is possible."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


@contextmanager
def _usable(logdir: Path) -> Iterator[None]:
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
    with _usable(wanted):
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
