"""Folders that stay the same ones wherever they are moved: held open, and named as they are now."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_names: dict[int, Path] = {}  # of each handle, what its folder was called when it was opened
_HANDLE = re.compile(r"/proc/self/fd/(\d+)(?!\d)")


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Yield a path that leads to this very folder while the context lasts, whatever the folder is
    called by then and whatever has taken its name. An exception leaves with the folder's own name.
    Raises OSError if it is not a folder.
    """
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    _names[handle] = folder
    try:
        yield Path(f"/proc/self/fd/{handle}")
    except Exception as error:
        error.args = tuple(shown(arg) if isinstance(arg, str) else arg for arg in error.args)
        if isinstance(error, OSError) and isinstance(error.filename, str):
            error.filename = shown(error.filename)
        raise
    finally:
        del _names[handle]
        os.close(handle)


def handles() -> tuple[int, ...]:
    """Return what a child process must inherit to use paths of held folders."""
    return tuple(_names)


def is_held(path: Path) -> bool:
    """Whether a path leads through a held folder."""
    return shown(path) != str(path)


def shown(text: object) -> str:
    """Return a text for people, with the present name of each held folder in place of its path."""
    return _HANDLE.sub(lambda found: _name(int(found[1])) or found[0], str(text))


def _name(handle: int) -> str | None:
    """The name by which a folder was opened, unless it is now known by another one alone."""
    name = _names.get(handle)
    if name is None:
        return None
    moved = os.readlink(f"/proc/self/fd/{handle}")
    leads_here = (place for place in (str(name), moved) if _is(place, handle))
    return next(leads_here, str(name))


def _is(place: str, handle: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.stat(place), os.fstat(handle))
    return False
