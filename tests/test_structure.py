import ast
import graphlib
import importlib.metadata
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[1]

RANKS = (
    "params losses advantages arrays metrics video keys folder startup signals glossary terminal",
    "games model checkpoint objective curves",
    "replay rollout update diagnostics",
    "evaluate learner recorder",
    "train show",
    "run_atari sweep drill",
)
RANK = {module: rank for rank, modules in enumerate(RANKS) for module in modules.split()}

# The column "must never know" of the design.
FORBIDDEN = {
    "params": {"tensorflow", "keras", "gymnasium", "ale_py"},
    "losses": {"keras", "time"},
    "advantages": {"tensorflow", "keras", "gymnasium", "ale_py"},
    "arrays": {"tensorflow", "keras", "gymnasium", "ale_py"},
    "metrics": {"tensorflow", "keras", "gymnasium", "ale_py"},
    "video": {"tensorflow", "keras", "gymnasium", "ale_py"},
    "games": {"tensorflow", "keras", "ppo.advantages"},
    "model": {"ppo.losses", "ppo.games", "gymnasium", "ale_py"},
    "replay": {"tensorflow", "keras", "ppo.model"},
    "rollout": {"tensorflow", "keras", "ppo.losses", "pathlib", "os", "io"},
    "update": {"ppo.games", "gymnasium", "ale_py", "pathlib", "os", "io", "time"},
    "evaluate": {"ppo.update", "ppo.rollout"},
    "curves": {"tensorflow", "keras", "gymnasium", "ale_py"},
    "sweep": {"tensorflow", "keras"},
    "train": {"argparse"},
    "show": {"argparse"},
}

# Comes with pydantic, whose limits are written with it.
BROUGHT_ALONG = {"annotated_types"}


def source_of(module: str) -> Path:
    return ROOT / "run_atari.py" if module == "run_atari" else ROOT / "ppo" / f"{module}.py"


def imports_of(module: str) -> set[str]:
    """Full names of all modules that a module imports, anywhere in its source."""
    names = set()
    for node in ast.walk(ast.parse(source_of(module).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names.add(node.module)
            if node.module == "ppo":
                names |= {f"ppo.{alias.name}" for alias in node.names}
    return names - {"ppo"}


def rooms_of(module: str) -> set[str]:
    return {name.split(".")[1] for name in imports_of(module) if name.startswith("ppo.")}


def test_every_module_has_its_rank():
    modules = {path.stem for path in (ROOT / "ppo").glob("*.py")} - {"__init__"}
    assert modules | {"run_atari"} == set(RANK)


@pytest.mark.parametrize("module", RANK)
def test_module_imports_only_from_lower_ranks(module):
    wrong = {room for room in rooms_of(module) if RANK[room] >= RANK[module]}
    assert not wrong


def test_imports_form_no_circle():
    graphlib.TopologicalSorter({module: rooms_of(module) for module in RANK}).prepare()


def test_package_file_imports_nothing():
    assert imports_of("__init__") == set()


@pytest.mark.parametrize("module", FORBIDDEN)
def test_module_does_not_import_what_it_must_never_know(module):
    tops = {name for full in imports_of(module) for name in (full, full.split(".")[0])}
    assert not tops & FORBIDDEN[module]


# One process imports one module after another; what TensorFlow came with is told for each.
IMPORT_ALL = """
import importlib, json, sys
known = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    known[name] = sorted({"tensorflow", "keras", "gymnasium"} & set(sys.modules))
print(json.dumps(known))
"""
LIGHT = [
    "ppo.params",
    "ppo.folder",
    "ppo.advantages",
    "ppo.video",
    "run_atari",
    "ppo.games",
    "ppo.replay",
    "ppo.rollout",  # the last, so that what it brings is not laid at another's door
]


@pytest.fixture(scope="module")
def brought() -> dict[str, list[str]]:
    command = [sys.executable, "-c", IMPORT_ALL, *LIGHT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", LIGHT)
def test_module_does_not_bring_tensorflow(brought, module):
    assert not {"tensorflow", "keras"} & set(brought[module])


@pytest.mark.parametrize("module", ["ppo.params", "run_atari"])
def test_settings_and_command_do_not_bring_gymnasium(brought, module):
    assert "gymnasium" not in brought[module]


# --- dependencies


def names_in(requirements: str) -> set[str]:
    lines = [line for line in requirements.split() if not line.startswith("-")]
    return {re.split(r"[<>=!~\[;]", line)[0].lower() for line in lines}


def test_setup_takes_its_dependencies_from_the_requirements(tmp_path, monkeypatch):
    shutil.copy(ROOT / "setup.py", tmp_path)
    (tmp_path / "ppo").mkdir()
    shutil.copy(ROOT / "ppo" / "__init__.py", tmp_path / "ppo")
    (tmp_path / "README.md").write_text("# Title\n")
    (tmp_path / "requirements.txt").write_text("invented>=1,<2\nanother\n")
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    runpy.run_path(str(tmp_path / "setup.py"))
    assert given["install_requires"] == ["invented>=1,<2", "another"]


def test_dependencies_are_written_in_no_second_place():
    runtime = names_in((ROOT / "requirements.txt").read_text())
    development = (ROOT / "requirements-dev.txt").read_text()
    assert "-r requirements.txt" in development.splitlines()
    assert not runtime & names_in(development)
    assert not re.search(r"^\s*dependencies", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_every_imported_package_is_among_the_requirements():
    wanted = names_in((ROOT / "requirements.txt").read_text())
    origin = importlib.metadata.packages_distributions()
    for module in RANK:
        tops = {name.split(".")[0] for name in imports_of(module)} - {"ppo"} - BROUGHT_ALONG
        for top in tops - set(sys.stdlib_module_names):
            assert {name.lower() for name in origin[top]} & wanted, f"{module} imports {top}"


def test_every_requirement_is_imported():
    origin = importlib.metadata.packages_distributions()
    used = {name.split(".")[0] for module in RANK for name in imports_of(module)}
    found = {distribution.lower() for top in used for distribution in origin.get(top, ())}
    assert names_in((ROOT / "requirements.txt").read_text()) <= found
