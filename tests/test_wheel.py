"""The wheel, installed outside the checkout: everything that is promised is there and works."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import ppo

ROOT = Path(__file__).parents[1]

PROMISED = """
import ppo, run_atari
from ppo.params import ParamsError, load
from ppo.settings import Params
from ppo.advantages import gae
from ppo.losses import pseudo_entropy, surrogate, target_policy, value_rescaling
from ppo.model import build
from ppo.checkpoint import load_weights
from ppo.train import fork, resume, run
assert (ppo.params.load, ppo.train.run) == (load, run) and callable(ppo.load)
import ppo.sweep, ppo.drill
import sys
assert run_atari.main(sys.argv[1:]) == 0
print(ppo.__file__)
print(build((84, 84, 4), 6, "a3c").count_params())
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy, since a build leaves its folders in the source."""
    source = tmp_path_factory.mktemp("wheel") / "source"
    copy = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(copy, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        target = source / name
        if (ROOT / name).is_file() and not name.startswith(("docs/", "pretrained/", "tests/")):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return source


@pytest.fixture(scope="module")
def wheel(source) -> Path:
    folder = source.parent
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, f"--wheel-dir={folder}", str(source)], check=True)
    (path,) = folder.glob("*.whl")
    return path


def test_a_source_distribution_has_all_that_its_setup_reads(source):
    command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir=.."]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (path,) = source.parent.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "requirements.txt", "README.md", "ppo/__init__.py"} <= names


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel; what it needs comes from the tests' own one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps"]
    subprocess.run([*command, str(wheel)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(installed: Path, *command: str) -> str:
    line = [str(installed / "bin" / command[0]), *command[1:]]
    done = subprocess.run(line, cwd=installed, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_holds_every_module_the_types_mark_and_the_presets(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "ppo").rglob("*.py")}
    presets = {"ppo/presets/pong.json", "ppo/presets/measured.jsonl"}
    assert modules | {"run_atari.py", "ppo/py.typed"} | presets <= names


def test_every_promised_import_comes_from_the_wheel_and_a_preset_trains(installed):
    changes = ("total_steps=32", "num_envs=2", "num_steps=16", "num_minibatches=1", "threads=1")
    changes += ("max_frames_per_game=40", "num_epochs=1", "seed=1")
    line = ["--logdir=run", "--pfile=pong", *(f"--set={text}" for text in changes)]
    *said, file, parameters = run(installed, "python", "-c", PROMISED, *line).splitlines()
    assert "done, at step 32" in said
    assert Path(file).is_relative_to(installed)
    assert int(parameters) == 4112 + 8224 + 663808 + 257 * 7


def test_preset_is_the_example_file(installed):
    example = (ROOT / "example-pong-params.json").read_text()
    (preset,) = installed.glob("lib/python*/site-packages/ppo/presets/pong.json")
    assert preset.read_text() == example


def test_command_answers(installed):
    assert run(installed, "run_atari", "--version") == f"ppo-atari {ppo.__version__}\n"
    assert "learning_rate\t" in run(installed, "run_atari", "--describe-params")
    assert "\npong\t" in "\n" + run(installed, "run_atari", "--describe-presets")
    assert "usage" in run(installed, "python", "-m", "ppo.sweep", "--help")
    assert "usage" in run(installed, "python", "-m", "ppo.drill", "--help")
