"""The order of things, and a state from which training resumes exactly."""

import functools
import types
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from ppo import model
from ppo.advantages import gae
from ppo.envs.episode import EpisodeMismatch
from ppo.envs.fleet import Fleet
from ppo.envs.registry import resolved
from ppo.errors import Diverged
from ppo.nn.shards import in_shards
from ppo.rollout import Rollout
from ppo.runs.trainer_state import capture, restore
from ppo.settings import Params
from ppo.telemetry.counters import LEAST_KL_SHARE, Tally
from ppo.telemetry.scalars import tags
from ppo.trainer import Trainer

SMALL = resolved(
    Params(
        env_id="CartPole-v1",
        network="mlp",
        num_envs=4,
        num_steps=16,
        num_minibatches=2,
        total_steps=5 * 64,
        seed=7,
        threads=2,
        value_rescaling="smoothed",
        diagnostics_interval=128,
    )
)


def finish(learner: Trainer) -> list:
    return list(learner.iterations())


def test_first_update_has_the_whole_learning_rate_and_the_last_is_above_0():
    learner = Trainer(SMALL)
    rates = [iteration.scalars["train/learning_rate"] for iteration in finish(learner)]
    np.testing.assert_allclose(rates, 4e-4 * np.array([1, 0.8, 0.6, 0.4, 0.2]))


def test_envs_are_closed_if_the_network_cannot_be_built(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object):
        raise ValueError("no such network")

    closed: list[Fleet] = []
    monkeypatch.setattr(Fleet, "close", lambda envs: closed.append(envs))
    monkeypatch.setattr(model, "build_model", refuse)
    with pytest.raises(ValueError, match="no such network"):
        Trainer(SMALL)
    assert len(closed) == 1


def test_order_of_an_iteration(monkeypatch: pytest.MonkeyPatch):
    tape: list[str] = []
    learner = Trainer(SMALL)

    def put_on_tape(owner, name):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a: [tape.append(name), real(*a)][1])

    put_on_tape(learner.collector, "collect")
    put_on_tape(learner.diagnostics, "measure")
    put_on_tape(learner.updater, "update")
    steps = [iteration.step for iteration in finish(learner)]
    assert steps == [64, 128, 192, 256, 320]
    # A closer look at 128 and 256, before the update that it looks at.
    plain, close = ["collect", "update"], ["collect", "measure", "update"]
    assert tape == [*plain, *close, *plain, *close, *plain]


def test_each_rollout_is_played_by_the_newest_weights_also_where_they_are_rounded():
    pictures = {"env_id": "tests.pixel_game:Catch-v0", "network": "a3c", "precision": "bfloat16"}
    changes = pictures | {"value_rescaling": "none", "learning_rate": 0.01}
    learner = Trainer(resolved(Params(**SMALL.model_dump() | changes)))
    next(learner.iterations())
    rollout = learner.collector.collect(1)
    network = tf.function(lambda x: in_shards(learner.model, x, 2), autograph=False)
    for observations, values in zip(rollout.observations, rollout.values, strict=True):
        np.testing.assert_array_equal(values, network(tf.constant(observations))[1])


def test_metrics_of_an_iteration_carry_its_step_and_its_games():
    learner = Trainer(SMALL)
    iterations = finish(learner)
    assert sum(len(iteration.episodes) for iteration in iterations) == learner.tally.episodes
    assert learner.totals()["train/n_updates"] == 5 * SMALL.num_epochs
    known = tags(0, learner.updater.layers, learner.envs.action_names)
    assert set(known) >= set(iterations[1].scalars) | set(learner.totals())


def estimates(rollout: Rollout) -> tuple[np.ndarray, np.ndarray]:
    r = rollout
    discounts = SMALL.gamma, SMALL.gae_lambda
    return gae(r.rewards, r.values, r.next_values, r.episode_over, *discounts)


def test_scalars_of_a_rollout_describe_the_rollout_that_was_played():
    rollout = (twin := Trainer(SMALL)).collector.collect(0)
    advantages, returns = estimates(rollout)
    scalars = next(Trainer(SMALL).iterations()).scalars
    unexplained = returns - rollout.values
    shares = [np.mean(rollout.actions == n) for n in range(twin.envs.num_actions)]
    expected = {
        "rollout/points_per_step": rollout.points / SMALL.steps_per_iteration,
        "train/explained_variance": 1 - np.var(unexplained) / np.var(returns),
        "train/advantage_std": np.sqrt(np.mean((advantages - advantages.mean()) ** 2)),
        "train/advantage_scale": 1 / np.std(advantages),
    } | dict(zip(["actions/share_0", "actions/share_1"], shares, strict=True))
    assert 0 < shares[0] != shares[1] and rollout.points == 64
    assert {tag: scalars[tag] for tag in expected} == pytest.approx(expected, rel=1e-5)


def test_no_sample_of_the_batch_is_of_a_forced_step():
    trainer, batches = Trainer(SMALL), []
    rollout = trainer.collector.collect(0)
    free = [np.array(array) for array in (*rollout.samples, *estimates(rollout))]
    forced = np.zeros(SMALL.batch_size, bool)
    forced[[3, 4, 30]] = True
    marked = forced.reshape(rollout.actions.shape)
    rollout = replace(rollout, forced=marked, stand_ins=np.array([7, 0, 7]))
    trainer.collector.collect = lambda *_: rollout
    update = trainer.updater.update
    trainer.updater.update = lambda batch, *more: [batches.append(batch), update(batch, *more)][1]
    scalars = next(trainer.iterations()).scalars
    places = np.arange(SMALL.batch_size)
    places[[3, 4, 30]] = 7, 0, 7
    expected = [array.reshape(-1, *array.shape[2:])[places] for array in free]
    for tensor, array in zip(batches[0], expected, strict=True):
        np.testing.assert_array_equal(tensor, array)
    assert scalars["train/advantage_std"] == pytest.approx(expected[4].std())
    assert scalars["actions/share_1"] == expected[1].mean()


def test_epochs_are_logged_one_by_one_if_asked_for():
    plain, asked = (
        next(Trainer(SMALL.model_copy(update={"log_epochs": asked})).iterations()).scalars
        for asked in (False, True)
    )
    more = {tag for tag in tags(SMALL.num_epochs, [], []) if tag.startswith("epochs/")}
    assert more and asked.keys() - plain.keys() == more
    same = [tag for tag in plain if tag.startswith("train/")]
    assert {tag: plain[tag] for tag in same} == pytest.approx(
        {tag: asked[tag] for tag in same}, abs=0, nan_ok=True
    )


def test_stopping_in_a_rollout_leaves_the_state_of_the_last_iteration():
    learner, calls = Trainer(SMALL), iter(range(1000))
    stop = lambda: next(calls) > 24  # noqa: E731 (in the second rollout, of 16 calls each)
    assert len(list(learner.iterations(stop))) == 1
    other = Trainer(SMALL)
    next(other.iterations())
    for name, array in capture(learner).arrays.items():
        np.testing.assert_array_equal(array, capture(other).arrays[name])
    assert capture(learner).trainer == capture(other).trainer


def test_a_restored_learner_ends_where_the_unbroken_one_does():
    unbroken, broken = Trainer(SMALL), Trainer(SMALL)
    finish(unbroken)
    iterations = broken.iterations()
    next(iterations)
    next(iterations)
    resumed = Trainer(SMALL)
    restore(resumed, capture(broken))
    assert resumed.step == 128
    finish(resumed)
    assert capture(resumed).trainer == capture(unbroken).trainer
    for name, array in capture(resumed).arrays.items():
        np.testing.assert_array_equal(array, capture(unbroken).arrays[name])


def test_stop_at_score_ends_the_run():
    quick = {"num_epochs": 1, "num_minibatches": 1, "diagnostics_interval": 0}
    ends = {"stop_at_score": 5.0, "total_steps": 10**6}
    learner = Trainer(SMALL.model_copy(update=quick | ends))
    finish(learner)
    assert learner.tally.episodes >= 100
    assert learner.finished
    assert learner.step < 10**6


def test_games_that_show_something_else_after_a_restore_are_noticed():
    trainer, resumed = Trainer(SMALL), Trainer(SMALL)
    next(trainer.iterations())
    state = capture(trainer)
    facts = state.trainer.model_copy(update={"observations": 1 ^ state.trainer.observations})
    with pytest.raises(EpisodeMismatch, match="do not show what they showed"):
        restore(resumed, replace(state, trainer=facts))
    resumed.envs.begin()  # --new-games
    assert all(len(episode.actions) == 0 for episode in resumed.envs.vectors[0].snapshot())
    assert resumed.step == 64 and len(list(resumed.iterations())) == 4


def test_new_games_have_seeds_that_the_run_has_not_used():
    trainer, resumed = Trainer(SMALL), Trainer(SMALL)
    for _ in zip(range(4), trainer.iterations(), strict=False):
        state = capture(trainer)
    falls = np.zeros(500, np.int32)  # the pole falls long before
    changed = replace(state, arrays=state.arrays | {"actions/3": falls})
    assert "ended while it was replayed" in restore(resumed, changed, new_games=True)
    for before, after in zip(state.trainer.unfinished, resumed.unfinished.episodes, strict=True):
        assert after.seeds_used > before.seeds_used > 1 and len(after.actions) == 0


def test_a_fork_with_another_number_of_workers_compares_no_checksum_of_theirs():
    trainer, forked = Trainer(SMALL), Trainer(SMALL)
    next(trainer.iterations())
    state = capture(trainer)
    facts = state.trainer.model_copy(
        update={"observations": 1 ^ state.trainer.observations, "workers": 2}
    )
    restore(forked, replace(state, trainer=facts), continued="as many as fit")
    assert forked.step == 64 and forked.unfinished.checksum == trainer.unfinished.checksum


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, lambda std: 1 / std),
        ({"advantage_std_floor": 1e3}, lambda std: 1e-3),
        ({"normalize_advantages": False}, lambda std: np.nan),
    ],
)
def test_scale_of_the_advantages_is_what_the_settings_make_of_them(changes, expected):
    iteration = next(Trainer(SMALL.model_copy(update=changes)).iterations())
    scale = expected(iteration.scalars["train/advantage_std"])
    np.testing.assert_allclose(iteration.scalars["train/advantage_scale"], scale)


def test_a_run_that_seeds_every_episode_does_so_after_a_resume():
    pong = {"env_id": "PongNoFrameskip-v4", "network": "a3c", "max_frames_per_game": 40}
    params = SMALL.model_copy(update=pong | {"num_epochs": 1, "diagnostics_interval": 0})
    trainer, resumed = Trainer(params), Trainer(params)
    assert trainer.envs.vectors[0].resets_per_seed > 1
    trainer.envs.seed_every_episode()
    next(trainer.iterations())
    restore(resumed, capture(trainer))
    assert resumed.envs.vectors[0].resets_per_seed == 1
    for one in (trainer, resumed):
        one.close()


@pytest.mark.parametrize("changes", [{"learning_rate": 1.0, "max_grad_norm": 3e38}])
def test_a_weight_that_is_not_finite_ends_the_run_before_anything_is_saved(changes):
    trainer = Trainer(SMALL.model_copy(update=changes))
    weight = trainer.updater.adam.second[0]
    weight.assign(np.full(weight.shape, np.inf))
    with pytest.raises(Diverged):
        next(trainer.iterations())
    assert trainer.step == 0


def test_weights_that_are_nan_end_the_run_with_the_observations():
    trainer = Trainer(SMALL)
    weights = trainer.model.get_weights()
    trainer.model.set_weights([np.full_like(array, np.nan) for array in weights])
    with pytest.raises(Diverged) as caught:
        next(trainer.iterations())
    assert caught.value.batch.keys() == {"observations"}


def test_on_a_gpu_the_batch_is_whole_and_the_games_are_in_two_vectors(monkeypatch):
    for module in ("ppo.system.device", "ppo.trainer"):
        monkeypatch.setattr(f"{module}.has_gpu", lambda: True)
    learner = Trainer(SMALL)
    assert [list(vector.indices) for vector in learner.envs.vectors] == [[0, 1], [2, 3]]
    assert learner.updater.shards == 1
    assert len(list(learner.iterations())) == SMALL.num_iterations


def test_rollbacks_leave_an_eighth_of_the_rate_each():
    tally = Tally().after_rollback().after_rollback()
    assert (tally.rollbacks, tally.rate_share) == (2, 1 / 64)


def test_the_rate_falls_while_the_kl_is_above_its_aim_and_recovers_below():
    tally = Tally().after_kl(0.021, 0.01).after_kl(0.021, 0.01)
    assert tally.kl_share == pytest.approx(1 / 1.5**2)
    assert tally.after_kl(0.019, 0.01).after_kl(0.006, 0.01) == tally
    assert tally.after_kl(0.004, 0.01).kl_share == pytest.approx(1 / 1.5)
    assert Tally().after_kl(0.0, 0.01).kl_share == 1
    many = functools.reduce(lambda tally, _: tally.after_kl(1.0, 0.01), range(50), Tally())
    assert many.kl_share == LEAST_KL_SHARE


@pytest.mark.parametrize(("aim", "share"), [(0.01, 0.5), (None, 1.0)])
def test_the_cuts_by_the_kl_last_as_long_as_learning_rate_kl_is_set(aim, share):
    params = SMALL.model_copy(update={"learning_rate_kl": aim})
    resumed = types.SimpleNamespace(params=params, tally=Tally(kl_share=0.5))
    rate, _ = Trainer.schedules_at(resumed, 0)
    assert rate == params.learning_rate * share


def test_each_update_has_the_rate_that_the_kl_of_the_updates_before_leaves():
    plain = SMALL.model_copy(update={"learning_rate_schedule": "constant"})
    learner = Trainer(plain.model_copy(update={"learning_rate_kl": 1e-9}))
    rates = [one.scalars["train/learning_rate"] for one in learner.iterations()]
    expected = plain.learning_rate / 1.5 ** np.arange(SMALL.num_iterations)
    assert len(rates) > 1
    np.testing.assert_allclose(rates, expected)
