"""``~`` is the home folder in every path that a command or a function is given."""

import ast
from pathlib import Path

import pytest

import run_atari
from ppo import checkpoint, params, train
from ppo.autopsy import __main__ as autopsy
from ppo.checkpoint import CheckpointError
from ppo.cli.parser import parse
from ppo.files.folder import FolderError
from ppo.params import ParamsError
from ppo.replay import __main__ as replay
from ppo.sweep import __main__ as sweep
from ppo.sweep import grid

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home folder of one's own; the current folder is another one, which stays empty."""
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    yield home
    assert not list(here.iterdir())


def test_command_expands_each_path(home):
    options = parse(["--logdir=~/run", "--report", "~/a", "~/b"], None)
    assert options.logdir == home / "run" and options.report == [home / "a", home / "b"]
    assert parse(["--pfile=pong", "--check", "~/a.png"], None).check == home / "a.png"
    assert parse(["--logdir=~/new", "--fork=~/run"], None).fork == (home / "run", "newest")
    assert parse(["--logdir=~/new", "--fork=~/run@5"], None).fork == (home / "run", 5)


def test_other_commands_expand_each_path(home, capsys):
    options = sweep._parse(["--logdir=~/s", "--pfile=~/p.json", "--draw=old=~/a,~/b"])
    assert (options.logdir, options.pfile) == (home / "s", home / "p.json")
    assert grid.parse_draws(options.draw, []) == {"old": [home / "a", home / "b"]}
    options = autopsy.command_line().parse_args(["~/run", "--logdir=~/a"])
    assert (options.run, options.logdir) == (home / "run", home / "a")
    assert replay.main(["~/game.json", "--video=~/none/a.mp4"]) == 2
    said = capsys.readouterr().err
    assert f"{home}/game.json" in said and f"no folder {home}/none" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--logdir=~/run", "--resume"],
        ["--logdir=~/run", "--evaluate"],
        ["--logdir=~/run", "--watch"],
        ["--logdir=~/run", "--film"],
        ["--logdir=~/run", "--explain"],
        ["--logdir=~/run", "--board"],
        ["--logdir=~/run", "--report"],
        ["--logdir=~/run", "--export=a.keras"],
        ["--logdir=~/new", "--fork=~/run"],
        ["--logdir=~/new", "--pfile=~/run"],
        ["--logdir=~/new", "--pfile=~/run", "--workers=2"],
    ],
    ids=lambda arguments: arguments[1],
)
def test_refusal_names_the_place_in_the_home_folder(arguments, home, capfd):
    (home / "run").mkdir()
    assert run_atari.main(arguments) == 2
    assert str(home / "run") in capfd.readouterr().err
    assert not (home / "new").exists()


def test_export_is_written_to_the_home_folder(home, capsys):
    (home / "a.keras").touch()
    assert run_atari.main(["--logdir=~/run", "--export=~/a.keras"]) == 2
    assert f"{home}/a.keras exists" in capsys.readouterr().err


def test_functions_expand_each_path(home):
    (home / "mine.json").write_text('{"gamma": 0.125}')
    assert params.load("~/mine.json").gamma == 0.125
    assert params.load(Path("~/mine.json")).gamma == 0.125
    with pytest.raises(ParamsError, match=str(home)):
        params.load("~/none.json")
    for function in (
        lambda: train.run(params.load("pong"), "~/mine.json"),
        lambda: train.resume("~/none"),
        lambda: train.fork("~/none", "~/new"),
        lambda: train.fork("~/none", "~/mine.json"),
    ):
        with pytest.raises(FolderError, match=str(home)):
            function()
    with pytest.raises(CheckpointError, match=str(home)):
        checkpoint.load_weights("~/none")


def test_unknown_user_s_home_is_taken_as_it_is(home):
    assert parse(["--logdir=~nobody-has-this-name/x", "--resume"], None).logdir == Path(
        "~nobody-has-this-name/x"
    )


def test_no_argument_is_a_path_that_is_not_expanded():
    for folder in ("ppo", "benchmarks", "docs"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                keywords = node.keywords if isinstance(node, ast.Call) else []
                types = [ast.unparse(key.value) for key in keywords if key.arg == "type"]
                assert "Path" not in types, path
