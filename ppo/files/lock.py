"""Who may use a run's folder: the kernel's locks, and the folder's removal while it is used."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ppo.files.atomic import PARTIAL, remove
from ppo.files.folder import GONE, LOCK, PARAMS, FolderError, FolderGone, RunFolder, usable
from ppo.files.held import held, is_lost, with_names
from ppo.system.private import private

# How a lock's file or folder is opened: never through a link to a file, nor waiting for a pipe.
LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
LOCKED_FOLDER = os.O_RDONLY | os.O_DIRECTORY

# Errors of writing into a read-only folder.
READ_ONLY = frozenset([errno.EACCES, errno.EPERM, errno.EROFS])

# Errors of locking on file systems that do not lock such a file or folder.
UNLOCKABLE = frozenset([errno.EBADF, errno.ENOLCK])

# Errors of opening what is not a plain file, or not a folder.
WRONG_KIND = frozenset([errno.EISDIR, errno.ELOOP, errno.ENOTDIR])


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
        with usable(logdir):
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
        with usable(logdir):
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
                        remove(path)
