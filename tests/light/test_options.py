"""Commands and options are rows of tables; arguments that make no sense are answered."""

import pytest

import run_atari
from ppo.cli import parser
from ppo.cli.arguments import Command, Option
from ppo.cli.commands import COMMANDS, OPTIONS
from ppo.workers.cluster import TF_CONFIG


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        run_atari.main(["--logdir=new", *arguments])
    assert end.value.code == 2
    return capsys.readouterr().err.partition("error: ")[2]


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--learning-rate=1e-3", "--learning-rate: write --set learning_rate=1e-3"),
        ("--num-envs", "write --set num_envs=VALUE"),
        ("--total-timesteps=100", "--set KEY=VALUE; here it is called total_steps"),
        ("--anneal-lr=true", 'learning_rate_schedule = "linear"'),
        ("--device=cpu", "no counterpart: TensorFlow chooses"),
        ("--evalute", "did you mean --evaluate?"),
        ("--newgames", "did you mean --new-games?"),
        ("surplus", "unrecognized arguments: surplus"),
    ],
)
def test_unknown_argument_is_answered_with_what_to_write(argument, told, capsys):
    assert told in refusal(capsys, "--env=Pong", argument)


def test_all_unknown_arguments_are_answered_at_once(capsys):
    said = refusal(capsys, "--env=Pong", "--track", "--lr", "1e-3", "--clip-coef=0.1")
    assert all(part in said for part in ("Weights & Biases", "learning_rate", "clip_range"))


def test_the_game_is_named_once(capsys):
    assert "both name the game" in refusal(capsys, "--env=Pong", "--set=env_id=Breakout")


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
        (["--evaluate", "--gif=3"], "--gif goes with --watch\n"),
        (["--resume", "--seed=0"], "--seed goes with --evaluate or --watch\n"),
        (["--pfile=pong", "--check", "--workers=2"], "which measures one process\n"),
        (["--pfile="], "is empty; if it comes from a variable"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, message, capsys):
    assert message in refusal(capsys, *arguments)


def test_workers_of_a_cluster_start_no_workers(monkeypatch, capsys):
    monkeypatch.setenv(TF_CONFIG, "{}")
    assert "with TF_CONFIG, leave it out" in refusal(capsys, "--resume", "--workers=2")
