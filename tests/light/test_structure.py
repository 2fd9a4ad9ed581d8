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

ROOT = Path(__file__).parents[2]

# From the bottom up; a name is a module or a wing, whose own ranks stand in WINGS.
RANKS = (
    "elsewhere errors",
    "settings advantages losses layer_norm falls distribution process",
    "files schedules schema described presets",
    "params pixels",
    "envs model objective optimizer flight collectives local_workers",
    "inputs statistics tally",
    "policy update diagnostics resolve exchange checkpoint",
    "rollout",
    "trainer",
    "state",
    "play",
    "runs",
    "train study",
    "cli sweep drill autopsy replay",
    "run_atari",
)
WINGS = {
    "process": (
        "streams keys arrays arguments tables tied last_words numerics",
        "reading",
        "cluster signals",
        "children command",
        "device",
    ),
    "files": (
        "held npz scalars",
        "folder ffmpeg",
        "events hparams evaluations progress video origin health",
        "log gif",
    ),
    "envs": (
        "roms human foreign",
        "episode",
        "catalog atari",
        "generic grouped",
        "screens vector",
        "fleet",
    ),
    "play": (
        "intervals",
        "replay evaluate agent drawing portable progress",
        "timeline games summary course",
        "panel",
        "render",
        "recorder show watch",
        "export",
    ),
    "runs": (
        "terminal start observer ending launch",
        "level observers verifier keeper",
        "guard videographer",
        "follower",
        "loop",
        "session",
    ),
    "cli": (
        "arguments messages",
        "training inspection lists",
        "commands",
        "parser",
    ),
    "study": (
        "figures",
        "curves broken_envs grid changes board details sheet published",
        "history overview verdict probe alike",
        "parallel",
        "machines",
        "case signs forecast film autopsy_figure",
        "explain forks preflight",
        "story",
        "report card",
        "sweep drill autopsy",
    ),
}
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names.split()}
RANK_IN_WING = {
    f"{wing}.{name}": rank
    for wing, ranks in WINGS.items()
    for rank, names in enumerate(ranks)
    for name in names.split()
}
MODULES = sorted({*RANK} - {*WINGS} | {*RANK_IN_WING})

GAMES = {"gymnasium", "ale_py"}
NETWORKS = {"tensorflow", "keras"}
FILES = {"pathlib", "os", "io", "shutil", "tempfile", "ppo.files"}
AROUND = {"ppo.runs", "ppo.play", "ppo.study"}
# What a module, or every module of a wing, must never know: the column of the design.
FORBIDDEN = {
    "settings": NETWORKS | GAMES | FILES,
    "params": NETWORKS | GAMES,
    "advantages": NETWORKS | GAMES | FILES | AROUND,
    "falls": NETWORKS | GAMES | FILES | AROUND,
    "losses": GAMES | FILES | AROUND | {"keras", "time", "ppo.model", "ppo.optimizer"},
    "flight": GAMES | FILES | AROUND | {"keras", "time", "ppo.model", "ppo.optimizer"},
    "objective": GAMES | FILES | AROUND | {"keras", "time", "ppo.model", "ppo.optimizer"},
    "statistics": NETWORKS | GAMES | FILES | AROUND | {"time"},
    "optimizer": GAMES | FILES | AROUND | {"time", "ppo.losses"},
    "schedules": NETWORKS | GAMES | FILES | AROUND | {"time"},
    "model": GAMES | FILES | AROUND | {"ppo.losses", "ppo.envs"},
    "pixels": GAMES | FILES | AROUND | {"ppo.losses", "ppo.envs"},
    "layer_norm": GAMES | FILES | AROUND | {"ppo.losses", "ppo.envs"},
    "inputs": GAMES | FILES | AROUND | {"ppo.losses", "ppo.envs"},
    "policy": GAMES | FILES | AROUND | {"ppo.losses", "ppo.envs"},
    "play.portable": GAMES | FILES | AROUND | {"tensorflow", "ppo.losses", "ppo.envs"},
    "rollout": NETWORKS | FILES | AROUND | {"ppo.losses", "ppo.optimizer"},
    "update": GAMES | FILES | AROUND | {"ppo.envs", "time"},
    "diagnostics": GAMES | FILES | AROUND | {"ppo.envs", "time"},
    "trainer": GAMES
    | NETWORKS
    | (FILES - {"ppo.files"})
    | AROUND
    | {"argparse", "ppo.files.folder", "ppo.files.log", "ppo.files.npz"},
    "distribution": GAMES | FILES | AROUND,
    "collectives": GAMES | AROUND | {"keras", "ppo.files", "ppo.model", "ppo.optimizer"},
    "local_workers": GAMES | AROUND | {"keras", "ppo.files", "ppo.model", "ppo.optimizer"},
    "exchange": NETWORKS | GAMES | AROUND,
    "checkpoint": NETWORKS | GAMES | AROUND,
    "process": GAMES | {"ppo.files", "ppo.envs", *AROUND},
    "files": NETWORKS | GAMES | AROUND,
    "envs": NETWORKS | FILES | AROUND | {"ppo.advantages", "ppo.losses"},
    "play.replay": NETWORKS | {"ppo.model", "ppo.policy"},
    "play.evaluate": {"ppo.update", "ppo.rollout", "ppo.optimizer"},
    "replay": NETWORKS | {"ppo.model", "ppo.policy", "ppo.optimizer"},
    "play.render": NETWORKS | {"ppo.model", "ppo.optimizer"},
    "play.panel": NETWORKS | GAMES | FILES | {"ppo.model", "ppo.policy"},
    "play.recorder": NETWORKS | {"ppo.model", "ppo.policy", "ppo.optimizer"},
    "play": {"argparse", "ppo.update", "ppo.rollout", "ppo.runs", "ppo.study"},
    "runs": NETWORKS | {"argparse", "ppo.study"},
    "train": NETWORKS | {"argparse", "ppo.study"},
    "study": NETWORKS,
    "cli": NETWORKS | GAMES,
}
# For annotations alone.
TYPES_ONLY = {("distribution", "tensorflow"), ("play.evaluate", "ppo.policy")}

# Comes with pydantic, whose limits are written with it.
BROUGHT_ALONG = {"annotated_types"}


def source_of(module: str) -> Path:
    if module == "run_atari":
        return ROOT / "run_atari.py"
    path = ROOT / "ppo" / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports_of(module: str) -> set[str]:
    """Full names of all modules that a module imports, anywhere in its source."""
    names = set()
    for node in ast.walk(ast.parse(source_of(module).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names.add(node.module)
            names |= {
                f"{node.module}.{alias.name}"
                for alias in node.names
                if node.module.startswith("ppo") and is_module(f"{node.module}.{alias.name}")
            }
    return names - {"ppo", *(f"ppo.{wing}" for wing in WINGS)}


def is_module(name: str) -> bool:
    return name.removeprefix("ppo.") in {*MODULES, *WINGS}


def modules_of(module: str) -> set[str]:
    """The modules of the package that a module imports."""
    found = {name.removeprefix("ppo.") for name in imports_of(module) if name.startswith("ppo.")}
    assert found <= {*MODULES}, found - {*MODULES}
    return found


def rank_of(module: str) -> tuple[int, int]:
    """That of its wing, then that in the wing."""
    return RANK[module.split(".")[0]], RANK_IN_WING.get(module, 0)


def test_every_module_of_every_wing_has_its_rank():
    files = {path.relative_to(ROOT / "ppo") for path in (ROOT / "ppo").rglob("*.py")}
    modules = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files}
    assert modules - {"__init__", *WINGS} | {"run_atari"} == {*MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_lower_ranks(module):
    wrong = {other for other in modules_of(module) if rank_of(other) >= rank_of(module)}
    assert not wrong


def test_imports_form_no_circle():
    graphlib.TopologicalSorter({module: modules_of(module) for module in MODULES}).prepare()


@pytest.mark.parametrize("package", ["", *WINGS])
def test_package_file_imports_nothing(package):
    source = (ROOT / "ppo" / package / "__init__.py").read_text()
    assert not [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)
    ]


@pytest.mark.parametrize(
    ("module", "rule"),
    [
        (module, rule)
        for rule in FORBIDDEN
        for module in MODULES
        if f"{module}.".startswith(f"{rule}.")
    ],
)
def test_module_does_not_import_what_it_must_never_know(module, rule):
    found = {
        forbidden
        for forbidden in FORBIDDEN[rule]
        for name in imports_of(module)
        if f"{name}.".startswith(f"{forbidden}.") and (module, forbidden) not in TYPES_ONLY
    }
    assert not found


def test_every_rule_of_what_must_not_be_known_is_about_a_module():
    assert {*FORBIDDEN} <= {*MODULES, *WINGS}


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
    "ppo.files.folder",
    "ppo.advantages",
    "ppo.files.video",
    "run_atari",
    "ppo.checkpoint",
    "ppo.envs.vector",
    "ppo.play.replay",
    "ppo.train",
    "ppo.play.show",
    "ppo.play.watch",
    "ppo.sweep",
    "ppo.drill",
    "ppo.replay",
    "ppo.rollout",  # the last, so that what it brings is not blamed on another
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


# Packages of an extra, and the one module that imports each, when it is used.
OPTIONAL = {"study.machines": {"ray"}}


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
