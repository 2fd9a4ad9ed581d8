"""Rewards that are not finite, or too large to add up: what a run compares and stores."""

import json
import math
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import run_atari
from ppo import checkpoint, train
from ppo.errors import Diverged
from ppo.files.folder import RunFolder
from ppo.runs.start import run_of
from ppo.settings import Params
from ppo.system.keys import Purpose, seed31
from ppo.telemetry import progress

SETTINGS = {
    "network": "mlp",
    "num_envs": 2,
    "num_steps": 16,
    "num_minibatches": 1,
    "num_epochs": 1,
    "seed": 1,
    "threads": 1,
    "total_steps": 96,
    "evaluation_interval": 32,
    "evaluation_games": 3,
    "clip_rewards": True,
}
# Of an evaluation's games; the first env plays the first and the third.
EVALUATED = [seed31(1, Purpose.EVALUATION_GAME, 0, used) for used in range(2)]


class Rewarding(gymnasium.Env):
    """Games of four steps, each with a reward of 1 unless ``rewards`` has one for the seed, which
    it is given once.
    """

    rewards: dict[int, float] = {}  # noqa: RUF012 (each test replaces it)
    always = 1.0
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self.steps, self.seed = 0, seed
        return np.zeros(2, np.float32), {}

    def step(self, action: int):
        self.steps += 1
        reward = Rewarding.rewards.pop(self.seed, Rewarding.always)
        return np.zeros(2, np.float32), reward, self.steps == 4, False, {}


@pytest.fixture(autouse=True)
def rewarding(monkeypatch):
    gymnasium.register("Rewarding-v0", Rewarding)
    monkeypatch.setattr(Rewarding, "rewards", {})
    monkeypatch.setattr(Rewarding, "always", 1.0)
    yield
    del gymnasium.registry["Rewarding-v0"]


def trained(logdir: Path, **more: object) -> RunFolder:
    train.run(Params(env_id="Rewarding-v0", **SETTINGS | more), logdir)
    return RunFolder(logdir)


def strict_lines(folder: RunFolder) -> list[dict]:
    def refused(constant: str) -> None:
        raise AssertionError(constant)

    lines = folder.evaluations.read_text().splitlines()
    return [json.loads(line, parse_constant=refused) for line in lines]


@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf, 1.7e308])
def test_an_evaluation_whose_score_is_not_finite_is_neither_stored_nor_the_best(
    reward, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(Rewarding, "rewards", {EVALUATED[0]: reward})
    folder = trained(tmp_path / "run")
    out = capsys.readouterr().out
    assert "step 32: the score of 1 of 3 games is not finite" in out
    assert "best so far 4.00" in out and "nan" not in out
    assert [(line["step"], line["mean"]) for line in strict_lines(folder)] == [(64, 4), (96, 4)]
    best = checkpoint.chosen(folder, "best")
    assert (best.step, run_of(best).best_saved) == (64, 4.0)
    assert [row.get("eval/mean_reward") for row in progress.numbers(folder.path)] == [None, 4, 4]


def test_a_run_from_before_with_nan_as_its_best_score_has_a_best_policy_again(tmp_path, capsys):
    folder = trained(tmp_path / "run")
    newest = checkpoint.newest(folder)
    run = newest.parts["run"] | {"best_saved": math.nan}
    checkpoint.save(folder, replace(newest, parts=newest.parts | {"run": run}), kept=1)
    line = folder.evaluations.read_text().splitlines()[0].replace("4.0", "NaN")
    folder.evaluations.write_text(line + "\n")
    train.resume(folder.path, ["total_steps=192"])
    said = capsys.readouterr()
    assert "best so far 4.00" in said.out and "nan" not in said.out
    assert f"{folder.evaluations}: a line is skipped" in said.err
    assert checkpoint.chosen(folder, "best").step == 128
    assert run_of(checkpoint.newest(folder)).best_saved == 4.0


def test_an_evaluation_of_a_trained_run_with_such_a_score_ends_with_four(
    tmp_path, monkeypatch, capsys
):
    folder = trained(tmp_path / "run")
    before = folder.evaluations.read_bytes()
    monkeypatch.setattr(Rewarding, "always", math.nan)
    assert run_atari.main([f"--logdir={folder.path}", "--evaluate", "2", "--seed=1"]) == 4
    assert "the score of 2 of 2 games is not finite" in capsys.readouterr().err
    assert folder.evaluations.read_bytes() == before


@pytest.mark.parametrize("reward", [math.nan, math.inf, 1e308])
def test_a_training_score_that_is_not_finite_ends_the_run_with_what_was_saved(
    reward, tmp_path, monkeypatch
):
    monkeypatch.setattr(Rewarding, "always", reward)
    with pytest.raises(Diverged):
        trained(tmp_path / "run", evaluation_interval=0, stop_at_score=5.0)
    folder = RunFolder(tmp_path / "run")
    assert checkpoint.newest(folder).step == 0
    assert not (folder.checkpoints / "best.ckpt").exists()
    assert progress.numbers(folder.path) == []


def test_large_rewards_that_are_clipped_are_learnt_from(tmp_path, monkeypatch):
    monkeypatch.setattr(Rewarding, "always", 1e300)
    folder = trained(tmp_path / "run", evaluation_interval=0)
    saved = checkpoint.newest(folder)
    assert (saved.step, saved.trainer.tally.best_score) == (96, 4e300)
    assert all(map(math.isfinite, saved.parts["guard"]["watch"]["recent"]))
