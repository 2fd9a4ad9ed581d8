"""Presets by name, and what they were measured to reach."""

from pathlib import Path

import pytest

import run_atari
from ppo import params, presets
from ppo.envs import checks, registry


def test_every_preset_is_measured_at_most_once_and_is_listed(capsys):
    assert [line.preset for line in presets.measured()] == [
        name for name in presets.names() if name != "baselines"
    ]
    assert run_atari.main(["--describe-presets"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in listed] == presets.names()
    assert all(len(line.split("\t")) == 3 for line in listed)


@pytest.mark.parametrize("line", presets.measured(), ids=lambda line: line.preset)
def test_line_is_of_a_whole_run_of_the_preset(line):
    settings = params.load(presets.find(line.preset), checks=[checks.check])
    assert (line.env_id, line.steps) == (settings.env_id, settings.whole_steps)
    assert line.low <= line.score <= line.high
    assert f"{line.score:,.2f}" in line.result and f"{line.minutes:.0f} minutes" in line.result


@pytest.mark.parametrize("name", presets.names())
def test_preset_is_loaded_by_its_name_unless_a_file_has_it(name, tmp_path, monkeypatch):
    assert params.load(name) == params.load(Path(name)) == params.load(presets.find(name))
    (tmp_path / name).write_text('{"gamma": 0.125}')
    monkeypatch.chdir(tmp_path)
    assert params.load(name).gamma == 0.125
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()  # as --logdir=pong does
    assert params.load(name) == params.load(presets.FOLDER / f"{name}.json")


def test_baselines_has_the_settings_of_openais_baselines():
    settings = params.load("baselines")
    assert (settings.num_envs, settings.num_steps, settings.gamma) == (8, 128, 0.99)
    assert (settings.num_epochs, settings.num_minibatches, settings.gae_lambda) == (4, 4, 0.95)
    assert (settings.learning_rate, settings.learning_rate_schedule) == (2.5e-4, "linear")
    assert (settings.clip_range, settings.clip_range_schedule) == (0.1, "linear")
    assert (settings.value_coef, settings.value_clip_range) == (0.5, 0.1)
    assert (settings.entropy_coef, settings.max_grad_norm) == (0.01, 0.5)
    assert (settings.network, settings.picture_scaling) == ("nature", "unit")
    assert settings.precision == "float32"


def test_former_name_still_loads():
    assert params.load("schulman2017") == params.load("baselines")


def test_unknown_name_is_answered_with_the_presets_beside_the_other_faults(tmp_path, capsys):
    logdir = tmp_path / "run"
    assert run_atari.main([f"--logdir={logdir}", "--pfile=frostbite", "--set", "gama=1"]) == 2
    name, key = capsys.readouterr().err.splitlines()
    assert name.startswith("frostbite: ") and ", ".join(presets.names()) in name
    assert "--env=Frostbite " in name
    assert "did you mean gamma?" in key
    assert not logdir.exists()


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("freeway", ["Freeway"]),
        ("space_invaders", ["SpaceInvaders"]),
        ("Breakout-v4", ["BreakoutNoFrameskip-v4"]),
        ("ale/breakout-v5", ["ALE/Breakout-v5"]),
        ("breakoutnoframeskip-v4", ["BreakoutNoFrameskip-v4"]),
        ("hangman-v4", ["ALE/Hangman-v5"]),
        ("cartpole-v1", ["CartPole-v1"]),
        ("blackjack-v1", ["Blackjack-v1"]),
        ("mine.json", []),
        ("best", []),
    ],
)
def test_a_name_without_a_preset_may_be_a_game(name, ids):
    assert registry.near_ids(name, cutoff=0.8)[:1] == ids
