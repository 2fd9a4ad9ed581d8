"""Every command of a page or a docstring is accepted, and so is every command that it starts.

No run begins: a command that would train is parsed, and its settings are checked.
"""

import ast
import json
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import run_atari
from ppo import params, presets, train
from ppo.cli import training
from ppo.cli.parser import parse
from ppo.system.arguments import Parser
from ppo.system.children import RUN_ATARI, Children

# The tests run modules that other tests have imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules after:RuntimeWarning")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [*sorted((ROOT / "benchmarks").glob("*.py")), *sorted((ROOT / "ppo").rglob("*.py"))]
COMMAND = re.compile(r"(run_atari|python -m (?:ppo|benchmarks)\.\w+) .*")
# Names in capitals, and what a reader might write.
MEANT = {r"\b(START|END)_PLUS_\d+": "3000000", r"=(SEED|DOSE)\b": "=16"}
ELSEWHERE = "benchmarks.scale_model"  # a module of another commit, as its page says
# These start other commands. All others are only parsed.
STARTERS = ("ppo.sweep", "benchmarks.games", "benchmarks.time_to_score", "benchmarks.collapses")
# With these they need Ray, draw, or read runs.
NOT_STARTED = ("--cluster", "--only-table", "--draw", "--plan", "--trained", "--random-play")
FILES = {
    "mine.json": {"env_id": "CartPole-v1", "network": "mlp"},
    "catch.json": {"env_id": "tests.pixel_game:Catch-v0", "network": "a3c", "num_envs": 8},
    "ppo/presets/frostbite.json": {"env_id": "FrostbiteNoFrameskip-v4"},
    "benchmarks/candidates/a3c16-norm.json": {"network": "a3c", "layer_norm": True},
}
# Pages that show the answer to a file of settings, and such a file.
ANSWERED = {
    "migrating.md": {"n_envs": 8, "n_steps": 128, "batch_size": 256}
    | {"policy": "CnnPolicy", "device": "cpu"},
    "runs.md": {"lerning_rate": 1e-4, "n_epochs": 3, "clip_range": 2, "num_minibatches": 7},
}


class Parsed(BaseException):
    """The arguments were accepted."""


def shown(path: Path) -> Iterator[str]:
    """The commands in a page's blocks of code, or in a module's docstring."""
    text = path.read_text()
    if path.suffix == ".md":
        tagged = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        blocks = [block for tag, block in tagged if not tag]
    else:
        blocks = [ast.get_docstring(ast.parse(text)) or ""]
    for line in re.sub(r"\\\n +", " ", "\n".join(blocks)).splitlines():
        assert not re.match(" {4,}--", line), f"{path.name}: no backslash before {line.strip()}"
        words = re.split(r" [#>] ", line)[0].strip()
        if COMMAND.fullmatch(words) and ELSEWHERE not in words and "[" not in words:
            for name, meant in MEANT.items():
                words = re.sub(name, meant, words)
            yield words


def started(command: Sequence[str]) -> int:
    """Accept a command of run_atari that another command starts."""
    if list(command[:2]) == RUN_ATARI:
        options = parse(command[2:])
        if options.pfile or options.env:
            training._settings(options)
    return 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A clone with the files that the pages name, where nothing is started."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("figures"))
    shutil.copytree(presets.FOLDER, tmp_path / "ppo" / "presets")
    shutil.copy(ROOT / "example-pong-params.json", tmp_path)
    for name, settings in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(settings))
    page = (ROOT / "docs" / "environments.md").read_text()
    (game,) = re.findall(r"```python\n(# my_game.py\n.*?)```", page, re.DOTALL)
    (tmp_path / "my_game.py").write_text(game)
    python = tmp_path / ".venv-sb3" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch(0o755)
    monkeypatch.setattr(presets, "FOLDER", tmp_path / "ppo" / "presets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Children, "call", lambda self, command, **_: started(command))
    monkeypatch.setattr(train, "start_tensorflow", None)  # benchmarks.faults wraps it
    monkeypatch.setattr(run_atari, "main", lambda words: started([*RUN_ATARI, *words]))


def only_parse(self: Parser, *arguments: Sequence[str]) -> None:
    self.parse_known_args(*arguments)
    raise Parsed


COMMANDS = dict.fromkeys(command for path in [*PAGES, *MODULES] for command in shown(path))


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[:100])
def test_command_of_a_page_is_accepted(words, folder, monkeypatch, capfd):
    command, *arguments = shlex.split(words)
    if command == "run_atari":
        assert started([*RUN_ATARI, *arguments]) == 0
        return
    _, name, *arguments = arguments
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    starts = name in STARTERS and not any(text.startswith(NOT_STARTED) for text in arguments)
    if not starts:
        monkeypatch.setattr(Parser, "parse_args", only_parse)
    with pytest.raises((SystemExit, Parsed)) as ended:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    if isinstance(ended.value, SystemExit):
        assert ended.value.code == 0, capfd.readouterr().err


def test_every_kind_of_command_is_among_them():
    texts = [
        "run_atari --logdir=runs/big --pfile=pong --workers=4",
        "python -m ppo.sweep --draw old=runs/a,runs/b --draw new=runs/c --logdir=runs/compared",
        "python -m benchmarks.roms --workers=2",
    ]
    assert COMMANDS.keys() >= {*texts} and len(COMMANDS) > 100


@pytest.mark.parametrize("page", ANSWERED)
def test_answer_to_a_file_is_as_the_page_shows_it(page):
    text = (ROOT / "docs" / page).read_text()
    (shown_answer,) = re.findall(
        r"^```\n\$ run_atari [^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    with pytest.raises(params.ParamsError) as refused:
        params.load(ANSWERED[page])
    for line, fault in zip(shown_answer.splitlines(), refused.value.faults, strict=True):
        assert fault.startswith(line.removesuffix("..."))
        assert line.endswith("...") or line == fault
