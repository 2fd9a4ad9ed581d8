"""Modules of the user: where they are found, and the commands that find them again."""

import sys
from pathlib import Path

import pytest

from ppo.system import own_modules
from ppo.system.arguments import CALLED, called, run_atari


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current folder with the module ``here``, and ``src`` with a module and a package."""
    monkeypatch.setattr(own_modules, "_imported", set())
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["run_atari.py"])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (tmp_path / "src" / "packed").mkdir(parents=True)
    for path in ("here.py", "src/there.py", "src/packed/__init__.py", "src/packed/games.py"):
        (tmp_path / path).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_module_is_found_in_the_current_folder_after_all_others(place):
    (place / "json.py").write_text("1 / 0")
    assert own_modules.import_own("here").__name__ == "here"
    assert own_modules.import_own("json").dumps(1) == "1"
    assert run_atari() == "python run_atari.py"
    with pytest.raises(ModuleNotFoundError):
        own_modules.import_own("there")


def test_a_module_that_changes_the_current_folder_moves_no_relative_path(place):
    (place / "here.py").write_text("import os; os.chdir('/')")
    own_modules.import_own("here")
    assert Path.cwd() == place


@pytest.mark.parametrize("name", ["there", "packed.games"])
@pytest.mark.parametrize("given", ["src", "/else where:src"])
def test_a_command_has_the_pythonpath_that_a_module_needs(place, monkeypatch, name, given):
    monkeypatch.setenv("PYTHONPATH", given)
    sys.path.insert(0, str(place / "src"))  # as Python does when it starts
    own_modules.import_own("here")
    assert run_atari() == "python run_atari.py"
    own_modules.import_own(name)
    assigned = {"src": "PYTHONPATH=src", "/else where:src": "PYTHONPATH='/else where:src'"}[given]
    assert run_atari() == f"{assigned} python run_atari.py"
    monkeypatch.setenv(CALLED, called())  # as a worker has it
    assert run_atari() == f"{assigned} python run_atari.py"


def test_a_current_folder_that_was_removed_needs_no_pythonpath(place, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "src")
    (place / "removed").mkdir()
    monkeypatch.chdir(place / "removed")
    (place / "removed").rmdir()
    assert own_modules.python_path() == ""


def test_a_command_of_a_module_in_the_current_folder_needs_no_pythonpath(place, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ".")
    own_modules.import_own("here")
    assert run_atari() == "python run_atari.py"
