"""Folders that are held open and stay the same when moved, and their present names."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_names: dict[int, Path] = {}  # what each handle's folder was called when it was opened
_HANDLE = re.compile(r"/proc/self/fd/(\d+)")


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Yield a path that leads to this folder while the context lasts, even if the folder is renamed
    or its name is reused; only on Linux, elsewhere its own name. An exception names the folder, not
    this path. Raises OSError if it is not a folder.
    """
    handle = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    _names[handle] = folder
    try:
        path = Path(f"/proc/self/fd/{handle}")
        yield path if path.exists() else folder
    except Exception as error:
        error.args = tuple(with_names(arg) if isinstance(arg, str) else arg for arg in error.args)
        if isinstance(error, OSError) and isinstance(error.filename, str):
            error.filename = with_names(error.filename)
        raise
    finally:
        del _names[handle]
        os.close(handle)


def handles() -> tuple[int, ...]:
    """Return what a child process must inherit to use paths of held folders."""
    return tuple(_names)


def is_lost(path: Path) -> bool:
    """Whether a path leads through a held folder that has been removed and has no name."""
    match = _HANDLE.match(str(path))
    return match is not None and _place(int(match[1])) is None


def with_names(text: object) -> str:
    """Return a text with each held folder's path replaced by its present, or last known, name."""
    return _HANDLE.sub(
        lambda match: _place(int(match[1])) or str(_names.get(int(match[1]), match[0])), str(text)
    )


def _place(handle: int) -> str | None:
    """Return a name that leads to a held folder, if possible the name that opened it, or None."""
    if handle in _names:
        for name in (str(_names[handle]), os.readlink(f"/proc/self/fd/{handle}")):
            with suppress(OSError):
                if os.path.samestat(os.stat(name), os.fstat(handle)):
                    return name
    return None
