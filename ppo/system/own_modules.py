"""The user's modules, which settings name as ``MODULE:ID`` or ``MODULE:FUNCTION``."""

import importlib
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

_imported: set[str] = set()  # top-level packages and modules


def current_folder() -> str:
    """Return the current folder. If it was removed, return "", to which nothing can change."""
    with suppress(FileNotFoundError):
        return os.getcwd()
    return ""


@contextmanager
def staying() -> Iterator[None]:
    """Restore the current folder, which the user's code may change, when the context ends. Relative
    paths then lead where they did.
    """
    here = current_folder()
    try:
        yield
    finally:
        with suppress(OSError):
            os.chdir(here)


def import_own(name: str) -> ModuleType:
    """Import a module of the user. The current folder is searched last, after PYTHONPATH."""
    with suppress(FileNotFoundError):  # the folder was removed
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)
    with staying():
        module = importlib.import_module(name)
    _imported.add(name.partition(".")[0])
    return module


def python_path() -> str:
    """Return this process's PYTHONPATH as an assignment for a shell, if a command needs it to find
    an imported module. Otherwise return nothing. A command finds modules in the current folder by
    itself.
    """
    path, needed = os.environ.get("PYTHONPATH", ""), set[str]()
    with suppress(FileNotFoundError):  # the folder was removed, and no command starts there
        entries = {os.path.realpath(entry) for entry in path.split(os.pathsep) if entry}
        needed = entries & set(map(_folder, _imported)) - {os.path.realpath(".")}
    return f"PYTHONPATH={shlex.quote(path)} " if needed else ""


def _folder(name: str) -> str:
    """Return the folder in which an imported module or package was found."""
    module = sys.modules.get(name)
    places = [*getattr(module, "__path__", []), getattr(module, "__file__", None) or ""]
    return str(Path(os.path.realpath(places[0])).parent)
