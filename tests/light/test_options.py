"""What the command answers to arguments that it does not have."""

import pytest

import run_atari


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
