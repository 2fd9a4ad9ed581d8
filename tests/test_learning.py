"""Small games with a known best score are learnt; with a broken loss they are not."""

import numpy as np
import pytest

from ppo import losses
from ppo.envs.registry import resolved
from ppo.settings import Params
from ppo.trainer import Trainer

CATCH = Params(
    env_id="tests.pixel_game:Catch-v0",
    network="a3c",
    total_steps=12_288,
    num_envs=8,
    num_steps=64,
    num_minibatches=4,
    num_epochs=4,
    learning_rate=1e-3,
    clip_range=0.2,
    clip_range_schedule="linear",
    picture_scaling="unit",
    precision="float32",
    seed=1,
    threads=2,
    diagnostics_interval=0,
)
CART_POLE = Params(
    env_id="CartPole-v1",
    network="mlp",
    total_steps=60_000,
    num_envs=8,
    num_steps=32,
    num_epochs=20,
    num_minibatches=1,
    learning_rate=1e-3,
    clip_range=0.2,
    clip_range_schedule="linear",
    gamma=0.98,
    gae_lambda=0.8,
    entropy_coef=0.0,
    clip_rewards=False,
    stop_at_score=150,
    seed=1,
    threads=2,
    diagnostics_interval=0,
)


def last_scores(params: Params) -> float:
    learner = Trainer(resolved(params))
    for _ in learner.iterations():
        pass
    learner.close()
    return float(np.mean([score for score, _ in learner.tally.recent]))


def test_pixel_game_is_learnt():
    assert last_scores(CATCH) > 0.9


def test_pixel_game_is_not_learnt_with_the_sign_of_the_surrogate_flipped(
    monkeypatch: pytest.MonkeyPatch,
):
    clipped = losses.clipped_surrogate
    monkeypatch.setattr(losses, "clipped_surrogate", lambda *arguments: -clipped(*arguments))
    assert last_scores(CATCH) < 0


def test_cart_pole_is_learnt():
    assert last_scores(CART_POLE) >= 150
