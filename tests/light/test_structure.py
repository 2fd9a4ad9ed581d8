import ast
import graphlib
import importlib.metadata
import json
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[2]

# From the bottom up. A name is a module or a package; it imports only what is in a lower layer,
# or in its own package.
LAYERS = (
    "errors",
    "system",
    "settings",
    "presets",
    "envs nn files",
    "workers",
    "params advantages surrogates",
    "losses",
    "model",
    "objective policy",
    "telemetry",
    "checkpoint",
    "rollout update",
    "trainer",
    "replay",
    "evaluate",
    "runs",
    "train",
    "sweep",
    "autopsy",
    "report preflight drill",
    "cli",
    "run_atari",
)
LAYER = {name: layer for layer, names in enumerate(LAYERS) for name in names.split()}

GAMES = {"gymnasium", "ale_py"}
NETWORKS = {"tensorflow", "keras"}
FILES = {"pathlib", "os", "io", "shutil", "tempfile"}
# What a module, or every module of a package, must never know.
BANS = {
    "settings params workers.interface advantages rollout trainer": NETWORKS,
    "envs files replay.replay replay.panel replay.render replay.recorder": NETWORKS,
    "checkpoint runs train autopsy sweep report preflight drill cli": NETWORKS,
    "settings params model nn policy surrogates losses objective update trainer workers": GAMES,
    "settings advantages surrogates losses objective update trainer": FILES,
    "rollout update surrogates losses objective advantages policy": {"time"},
    "evaluate runs train telemetry workers": {"argparse"},
}
# For annotations alone.
TYPES_ONLY = {("workers.interface", "tensorflow")}

# Comes with pydantic, whose limits are written with it.
BROUGHT_ALONG = {"annotated_types"}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT / "ppo").with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


SOURCES = {_name(path): path for path in sorted((ROOT / "ppo").rglob("*.py"))}
SOURCES = {name: path for name, path in SOURCES.items() if name != "__init__"}
SOURCES["run_atari"] = ROOT / "run_atari.py"
MODULES = sorted(SOURCES)


def imports_of(module: str) -> set[str]:
    """Full names of all modules that a module imports, anywhere in its source."""
    names = set()
    for node in ast.walk(ast.parse(SOURCES[module].read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in inner if name.removeprefix("ppo.") in SOURCES}
            names |= modules or {node.module}
    return names - {"ppo"}


def modules_of(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    found = {name.removeprefix("ppo.") for name in imports_of(module) if name.startswith("ppo.")}
    assert found <= {*MODULES}, found - {*MODULES}
    return found


def place_of(module: str) -> str:
    """Its package, or itself."""
    return module.split(".")[0]


def test_every_package_and_every_file_at_the_top_has_its_layer():
    assert {place_of(module) for module in MODULES} == {*LAYER}


def test_the_top_of_the_package_is_the_algorithm_and_its_contracts():
    assert len(list((ROOT / "ppo").glob("*.py"))) <= 14


def test_functions_and_classes_are_short():
    most = {ast.FunctionDef: 50, ast.ClassDef: 200}
    lengths = {
        f"{module}: {node.name}": (node.end_lineno - node.lineno + 1, most[type(node)])
        for module in MODULES
        for node in ast.walk(ast.parse(SOURCES[module].read_text()))
        if type(node) in most
    }
    assert not {name: length for name, (length, limit) in lengths.items() if length > limit}


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_lower_layers(module):
    here = place_of(module)
    others = {place_of(other) for other in modules_of(module)} - {here}
    assert not {other for other in others if LAYER[other] >= LAYER[here]}


def test_imports_form_no_circle():
    graphlib.TopologicalSorter({module: modules_of(module) for module in MODULES}).prepare()


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        (module, banned)
        for names, banned in BANS.items()
        for name in names.split()
        for module in MODULES
        if f"{module}.".startswith(f"{name}.")
    ],
)
def test_module_does_not_import_what_it_must_never_know(module, banned):
    found = {
        name
        for name in imports_of(module)
        if name.split(".")[0] in banned and (module, name) not in TYPES_ONLY
    }
    assert not found


def test_every_ban_is_about_a_module_or_a_package():
    assert {name for names in BANS for name in names.split()} <= {*MODULES, *LAYER}


# One process imports one module after another; for each it prints whether TensorFlow came with it.
IMPORT_ALL = """
import importlib, json, sys
known = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    known[name] = sorted({"tensorflow", "keras", "gymnasium"} & set(sys.modules))
print(json.dumps(known))
"""
LIGHT = [
    "ppo",
    "ppo.params",
    "ppo.files.folder",
    "ppo.advantages",
    "ppo.files.video",
    "run_atari",
    "ppo.checkpoint",
    "ppo.envs.vector",
    "ppo.replay.replay",
    "ppo.train",
    "ppo.evaluate.agent",
    "ppo.evaluate.games",
    "ppo.evaluate.watch",
    "ppo.sweep.__main__",
    "ppo.drill.__main__",
    "ppo.replay.__main__",
    "ppo.rollout",  # the last, because it imports TensorFlow
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


@pytest.mark.parametrize("module", ["ppo", "ppo.params", "run_atari"])
def test_settings_and_command_do_not_bring_gymnasium(brought, module):
    assert "gymnasium" not in brought[module]


# --- dependencies


def names_in(requirements: str) -> set[str]:
    lines = [line for line in requirements.split() if not line.startswith("-")]
    return {re.split(r"[<>=!~\[;]", line)[0].lower() for line in lines}


def test_files_that_the_settings_of_mutants_name_are_there():
    mutants = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
    named = [*mutants["only_mutate"], *mutants["pytest_add_cli_args_test_selection"]]
    assert [name for name in named if not (ROOT / name).is_file()] == []


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


# Packages of an extra, and the one module that imports each, when it is used.
OPTIONAL = {"sweep.machines": {"ray"}, "runs.tracker": {"wandb"}}


def test_every_imported_package_is_among_the_requirements():
    wanted = names_in((ROOT / "requirements.txt").read_text())
    origin = importlib.metadata.packages_distributions()
    for module in MODULES:
        tops = {name.split(".")[0] for name in imports_of(module)} - {"ppo"} - BROUGHT_ALONG
        tops -= OPTIONAL.get(module, set())
        for top in tops - set(sys.stdlib_module_names):
            assert {name.lower() for name in origin[top]} & wanted, f"{module} imports {top}"


def test_every_requirement_is_imported():
    origin = importlib.metadata.packages_distributions()
    used = {name.split(".")[0] for module in MODULES for name in imports_of(module)}
    found = {distribution.lower() for top in used for distribution in origin.get(top, ())}
    assert names_in((ROOT / "requirements.txt").read_text()) <= found


def test_no_module_reads_data_that_may_hold_code():
    assert not {"pickle", "marshal", "shelve"} & set().union(*map(imports_of, MODULES))


def test_functions_of_tensors_are_compiled_in_one_way():
    assert [name for name in MODULES if "tf.function(" in SOURCES[name].read_text()] == [
        "nn.compiled"
    ]


def test_consoles_are_made_in_one_way():
    """By ``tables.console_of``, for which a file is never a terminal."""
    assert not [name for name in MODULES if re.search(r"\bConsole\(", SOURCES[name].read_text())]
