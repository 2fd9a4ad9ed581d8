"""Files that are written whole, or not at all."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Names of this package's files until they are whole.
PARTIAL = re.compile(r"\.ppo-.+\.partial(\.\w+)?")

# Errors of flushing a folder on file systems that cannot.
UNFLUSHABLE = frozenset([errno.EINVAL, errno.ENOTSUP])


@contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a name for a new file or folder that replaces ``path`` unless there is an error."""
    partial = path.with_name(f".ppo-{secrets.token_hex(4)}.partial{suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        remove(partial)
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


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that it has, as far as that is possible."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()
