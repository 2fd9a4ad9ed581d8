"""Commands and options are rows of tables; arguments that make no sense are answered."""

from pathlib import Path

import pytest

import run_atari
from ppo import train
from ppo.cli import parser
from ppo.cli.arguments import Command, Option, source
from ppo.cli.parser import COMMANDS, OPTIONS
from ppo.errors import Refused
from ppo.workers.cluster import TF_CONFIG


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        run_atari.main(["--logdir=new", *arguments])
    assert end.value.code == 2
    return capsys.readouterr().err.partition("error: ")[2]


def test_a_wrong_argument_is_answered_in_two_lines(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/home/me/bin/run_atari"])
    for arguments in ([], ["--speed=9"], ["--resume", "--watch"], ["--watch=many"]):
        with pytest.raises(SystemExit):
            run_atari.main(arguments)
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 2 and said[0].startswith("error: "), said
        assert said[1] == "see: run_atari --help"


def test_help_has_examples_that_can_be_parsed_and_the_other_commands(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run_atari.py"])
    with pytest.raises(SystemExit):
        run_atari.main(["--help"])
    said = capsys.readouterr().out
    examples = [line.split() for line in said.splitlines() if line.startswith("  python run_")]
    assert len(examples) > 4
    for example in examples:
        assert parser.parse(example[2:]).command
    for module in ("sweep", "autopsy", "replay", "drill"):
        assert f"python -m ppo.{module} " in said
    assert "docs/" in said and "usage: python run_atari.py COMMAND" in said


def test_help_comes_from_a_folder_with_a_percent_sign(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/home/me/100%s/run_atari.py"])
    with pytest.raises(SystemExit):
        run_atari.main(["--help"])
    assert "usage: python /home/me/100%s/run_atari.py COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "run", "which"),
    [
        ("a", "a", "newest"),
        ("a@best", "a", "best"),
        ("a@1_024", "a", 1024),
        ("a@newest", "a", "newest"),
        ("a@1/", "a@1", "newest"),
        ("a@1@best", "a@1", "best"),
        ("a@b", "a@b", "newest"),
    ],
)
def test_a_fork_names_a_run_and_a_checkpoint(text, run, which):
    given = source(text)
    assert given == (Path(run), which)
    assert source(str(given)) == given


def test_a_fork_of_an_unknown_checkpoint_of_a_run_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "other@b"):
        (tmp_path / name).mkdir()
    assert source("other@b") == (Path("other@b"), "newest")
    for which, shown in (("latest", "latest"), ("1e4", "1e4"), ("9" * 5000, "9" * 57 + "...")):
        said = refusal(capsys, f"--fork=run@{which}")
        assert said.startswith(f"argument --fork: {shown} is neither newest nor best nor a step")


@pytest.mark.parametrize("option", ["--evaluate=", "--watch=", "--restarts="])
def test_a_huge_number_is_shown_short(capsys, option):
    said = refusal(capsys, option + "9" * 5000)
    assert said.startswith(f"argument {option[:-1]}: {'9' * 57}... is not a number of")


def test_a_checkpoint_of_a_huge_step_is_refused(capsys):
    said = refusal(capsys, "--evaluate", f"--checkpoint={'9' * 5000}")
    assert said.startswith(f"argument --checkpoint: {'9' * 57}... is neither newest nor")


def test_a_run_without_a_folder_gets_the_next_free_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "Pong-1").mkdir(parents=True)
    names = {"PongNoFrameskip-v4": "Pong-2", "ALE/Pong-v5": "Pong-3", "CartPole-v1": "CartPole-1"}

    def run(source, logdir, overrides, env, began) -> None:
        assert capsys.readouterr().out == f"folder: {logdir}\n"
        assert logdir == Path("runs", names[env])
        (logdir / "params.json").touch()

    monkeypatch.setattr(train, "run", run)
    for env_id in names:
        assert run_atari.main([f"--env={env_id}"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        *("CartPole-1", "Pong-1", "Pong-2", "Pong-3")
    ]


def test_a_refused_run_without_a_folder_leaves_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(source, logdir, overrides, env, began) -> None:
        (logdir / ".lock").touch()
        raise Refused("no")

    monkeypatch.setattr(train, "run", run)
    assert run_atari.main(["--env=Pong"]) == 2
    assert not list(tmp_path.iterdir())


def test_several_machines_need_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert run_atari.main(["--env=Pong"]) == 2
    assert "--logdir=DIR is needed" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        ("--learning-rate=1e-3", "--learning-rate: write --set learning_rate=1e-3"),
        ("--num-envs", "write --set num_envs=VALUE"),
        ("--total-timesteps=100", "--set KEY=VALUE; here it is called total_steps"),
        ("--anneal-lr=true", 'called learning_rate_schedule; write "linear"'),
        ("--device=cpu", "no counterpart: TensorFlow chooses"),
        ("--evalute", "did you mean --evaluate?"),
        ("--newgames", "did you mean --new-games?"),
        ("surplus", "unrecognized arguments: surplus"),
    ],
)
def test_unknown_argument_is_answered_with_what_to_write(argument, remedy, capsys):
    assert remedy in refusal(capsys, "--env=Pong", argument)


def test_all_unknown_arguments_are_answered_at_once(capsys):
    said = refusal(capsys, "--env=Pong", "--track", "--lr", "1e-3", "--clip-coef=0.1")
    assert all(part in said for part in ("Weights & Biases", "learning_rate", "clip_range"))


def test_the_game_is_named_once(capsys):
    assert run_atari.main(["--logdir=new", "--env=Pong", "--set=env_id=Breakout"]) == 2
    assert "both name the game" in capsys.readouterr().err


def test_an_empty_folder_is_not_the_current_one(capsys):
    with pytest.raises(SystemExit):
        run_atari.main(["--logdir=", "--resume"])
    assert "argument --logdir: the path is empty" in capsys.readouterr().err


@pytest.mark.parametrize("start", ["--env=Pong", "--pfile=pong", "--fork=other"])
def test_seed_of_a_training_is_answered_with_its_setting(start, capsys):
    assert "to train: --set seed=7" in refusal(capsys, start, "--seed=7")


def test_a_command_and_its_option_are_two_rows(monkeypatch, capsys):
    def count(options) -> int:
        print(*range(options.until))
        return options.until

    row = Command("count", count, "print numbers", needs_logdir=False)
    monkeypatch.setattr(parser, "COMMANDS", (*COMMANDS, row))
    monkeypatch.setattr(
        parser, "OPTIONS", (*OPTIONS, Option("until", ["count"], "the end", type=int))
    )
    assert run_atari.main(["--count", "--until=4"]) == 4
    assert capsys.readouterr().out == "0 1 2 3\n"
    with pytest.raises(SystemExit):
        run_atari.main(["--help"])
    assert "with --count: the end" in capsys.readouterr().out
    assert "--until goes with --count\n" in refusal(capsys, "--resume", "--until=4")


def test_options_go_with_arguments_that_exist():
    known = {row.name for row in (*COMMANDS, *OPTIONS)}
    assert known.issuperset(name for option in OPTIONS for name in option.goes_with)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "--check"], "--check goes with --pfile or --env\n"),
        (["--film", "--set=gamma=1"], "--set goes with --pfile, --env, --resume or --fork\n"),
        (["--explain", "--workers=2"], "--workers goes with --pfile, --env, --resume or --fork\n"),
        (["--resume", "--restarts=2"], "--restarts goes with --workers\n"),
        (["--env=Pong", "--new-games"], "--new-games goes with --resume\n"),
        (["--watch", "--port=3"], "--port goes with --board\n"),
        (["--evaluate", "--gif=3"], "--gif goes with --watch\n"),
        (["--resume", "--seed=0"], "--seed goes with --evaluate or --watch\n"),
        (["--pfile=pong", "--check", "--workers=2"], "which measures one process\n"),
        (["--resume", "--workers=1", "--restarts=2"], "--restarts goes with --workers=2 or more\n"),
        (["--film", "--checkpoint=newest"], "--checkpoint goes with --evaluate, --watch or"),
        (["--export=x.keras", "--workers=1"], "--workers goes with --pfile"),
        (["--env=Pong", "--env=Breakout"], "--env is given twice\n"),
        (["--report", "a", "--report", "b"], "--report is given twice\n"),
        (["--watch", "--logdir=other"], "--logdir is given twice\n"),
        (["--watch", "--checkpoint=newest", "--checkpoint=best"], "--checkpoint is given twice"),
        (["--fork="], "argument --fork: the path is empty; is its variable set?\n"),
        (["--fork=@best"], "argument --fork: the path is empty; is its variable set?\n"),
        (["--report", ""], "argument --report: the path is empty; is its variable set?\n"),
        (["--pfile="], "is empty; is the shell variable set?"),
        (["--pfile=a", "--env=b"], "with the settings of a file: --set env_id=ID\n"),
        (["--env=a.json"], "for a file of settings use --pfile=a.json\n"),
        (["--resume", "--watch"], "not allowed with argument --resume; give one of them\n"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, message, capsys):
    assert message in refusal(capsys, *arguments)


def test_workers_of_a_cluster_start_no_workers(monkeypatch, capsys):
    monkeypatch.setenv(TF_CONFIG, "{}")
    assert "with TF_CONFIG, leave it out" in refusal(capsys, "--resume", "--workers=2")
