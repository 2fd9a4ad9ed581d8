"""The seams for workers: where the update and the trainer ask them, and heed their answer."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
import tensorflow as tf

from ppo import model
from ppo.envs.episode import Episode, Reset, UnfinishedEpisode
from ppo.envs.fleet import Unfinished
from ppo.envs.registry import resolved
from ppo.errors import Diverged
from ppo.settings import Params
from ppo.telemetry.update_statistics import KL, UpdateResult
from ppo.trainer import Trainer
from ppo.update import INITIAL_RESCALING_STATE, Updater
from ppo.workers.interface import Workers
from ppo.workers.messages import Report, gather_unfinished, merge_reports
from tests.test_update import KEY, PARAMS, batch, changed


def update(workers: Workers, params: Params = PARAMS) -> tuple[list[np.ndarray], UpdateResult]:
    network = model.build((3,), 4, "mlp")
    result = Updater(network, params, 1, workers).update(
        batch(), KEY, 0.01, 0.1, INITIAL_RESCALING_STATE
    )
    return network.get_weights(), result


class Reversing(Workers):
    """As if the other workers' gradients were so large that they turned the mean around."""

    def all_reduce_mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        *gradients, means = tensors
        return [*(-1e6 * gradient for gradient in gradients), means]


class Disagreeing(Workers):
    """Another worker's loss is not finite."""

    def all_reduce_mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        *gradients, means = tensors
        return [*gradients, means * np.nan]


class Ahead(Workers):
    """The other workers' KL is large."""

    def all_reduce_mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        *gradients, means = tensors
        return [*gradients, means + tf.one_hot(KL, means.shape[0])]


class Stopping(Workers):
    """Another worker was asked to stop."""

    def all_gather(self, data: bytes) -> list[bytes]:
        return [data, bytes([True, False])]


def test_gradients_are_averaged_before_they_are_clipped():
    initial = model.build((3,), 4, "mlp").get_weights()
    ours, _ = update(Workers(), changed(num_epochs=1, num_minibatches=1))
    theirs, result = update(Reversing(), changed(num_epochs=1, num_minibatches=1))
    # Adam's first step has the size of the rate whatever the gradient's, so only its sign shows.
    for before, one, other in zip(initial, ours, theirs, strict=True):
        np.testing.assert_allclose(other - before, before - one, atol=2e-4)
    assert result.by_minibatch("grad_norm")[0] > 1e4


def test_a_number_that_is_not_finite_anywhere_is_applied_nowhere():
    weights, result = update(Disagreeing())
    assert not result.finite
    for before, after in zip(model.build((3,), 4, "mlp").get_weights(), weights, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("workers", "epochs"), [(Workers(), 3), (Ahead(), 1)])
def test_target_kl_is_compared_with_the_mean_over_the_workers(workers, epochs):
    _, result = update(workers, changed(target_kl=0.9))
    assert len(result.epochs) == epochs


@pytest.mark.parametrize(("workers", "steps"), [(Workers(), 6), (Ahead(), 1)])
def test_so_is_the_kl_limit_of_a_minibatch(workers, steps):
    _, result = update(workers, changed(minibatch_kl_limit=0.9))
    assert len(result.by_minibatch("approx_kl")) == steps


@pytest.fixture
def small() -> Iterator[Callable[[Workers], Trainer]]:
    """A trainer of a small run, as one of the workers that it is given."""
    cart_pole = {"env_id": "CartPole-v1", "network": "mlp", "num_steps": 8}
    params = resolved(Params(**cart_pole, seed=1, threads=1, diagnostics_interval=128))
    with ExitStack() as open_trainers:

        def made(workers: Workers) -> Trainer:
            trainer = Trainer(params, workers)
            open_trainers.callback(trainer.close)
            return trainer

        yield made


def test_a_run_stops_when_any_worker_is_asked_to(small):
    assert list(small(Stopping()).iterations()) == []


class Failing(Workers):
    """The rollout of another worker ended as it ``sent``; nobody was asked to stop."""

    def __init__(self, sent: bytes):
        self.sent = sent

    def all_gather(self, data: bytes) -> list[bytes]:
        flags_of_a_new_iteration = len(data) == 2
        return [data] if flags_of_a_new_iteration else [data, self.sent]


def test_a_rollout_that_was_interrupted_in_any_worker_is_kept_in_none(small):
    trainer = small(Failing(b"Interrupted"))
    assert next(trainer.iterations(), None) is None
    assert (trainer.step, trainer.tally.iteration) == (0, 0)


def test_a_rollout_that_is_not_finite_in_any_worker_ends_the_run_in_all(small):
    trainer = small(Failing(b"NotFinite"))
    with pytest.raises(Diverged, match="after step 0"):
        next(trainer.iterations())


class Second(Workers):
    """The second worker, alone."""

    index = 1


def random_numbers(trainer: Trainer) -> dict[str, set]:
    """What the random numbers of a trainer's first iteration are keyed by."""
    found: dict[str, set] = {
        "games": {episode.reset.seed for episode in trainer.envs.snapshot().episodes},
        "actions": set(),
        "shuffles": set(),
        "samples": set(),
    }

    def noting(name: str, call: Callable) -> Callable:
        def noted(batch: object, key: np.ndarray, *others: object) -> object:
            found[name].add(tuple(key))
            return call(batch, key, *others)

        return noted

    trainer.policy.act = noting("actions", trainer.policy.act)
    trainer.updater.update = noting("shuffles", trainer.updater.update)
    trainer.diagnostics.measure = noting("samples", trainer.diagnostics.measure)
    next(trainer.iterations())
    return found


def test_no_worker_plays_draws_or_shuffles_as_another(small):
    first, second = random_numbers(small(Workers())), random_numbers(small(Second()))
    counts = {"games": 16, "actions": 8, "shuffles": 1, "samples": 1}
    for name, count in counts.items():
        assert len(first[name]) == len(second[name]) == count, name
        assert not first[name] & second[name], name


class Echo(Workers):
    """Two workers of which the other tells the same."""

    count = 2

    def all_gather(self, data: bytes) -> list[bytes]:
        return [data, data]


def test_games_of_all_workers_are_in_the_order_of_the_envs():
    own = Unfinished(
        [UnfinishedEpisode(1, Reset(n, 2), np.arange(n, dtype=np.int32)) for n in (3, 0)], 7
    )
    found = gather_unfinished(Echo(), own)
    assert [episode.reset.seed for episode in found.episodes] == [3, 0, 3, 0]
    assert [len(episode.actions) for episode in found.episodes] == [3, 0, 3, 0]
    assert found.checksum not in (7, None)


def test_reports_are_joined_in_the_order_in_which_episodes_ended():
    episodes = [Episode(Reset(n, 0), np.arange(4, dtype=np.int32), n / 3, 9, 5) for n in (1, 2)]
    scalars = {"a": 1 / 3, "undefined": np.nan}
    own = Report(episodes, [2, 5], 3.5, scalars, {"largest": 2.0, "infinite": np.inf})
    found = merge_reports(Echo(), own)
    assert [episode.score for episode in found.episodes] == [1 / 3, 1 / 3, 2 / 3, 2 / 3]
    assert found.end_rows == [2, 2, 5, 5] and found.points == 7
    assert found.scalars["a"] == 1 / 3 and np.isnan(found.scalars["undefined"])
    assert found.updated == own.updated


class Pair(Workers):
    """One of two workers, each of which is a thread."""

    count = 2

    def __init__(self, index: int, sent: dict[int, bytes], both: threading.Barrier):
        self.index, self._sent, self._both = index, sent, both

    def all_gather(self, data: bytes) -> list[bytes]:
        self._sent[self.index] = data
        self._both.wait(60)
        return [self._sent[index] for index in range(2)]


def test_points_are_summed_scalars_averaged_and_the_largest_values_kept():
    owns = [
        Report(
            [],
            [],
            3.0,
            {"a": 1.0, "b": np.nan, "c": np.inf, "d": -np.inf},
            {"same": 0.1, "x": 1.0, "y": 7.0},
        ),
        Report(
            [],
            [],
            -1.5,
            {"a": 4.0, "b": 5.0, "c": -np.inf, "d": 2.0},
            {"same": 0.1, "x": 2.0, "y": 6.0},
        ),
    ]
    sent, both = {}, threading.Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        pairs = [Pair(index, sent, both) for index in range(2)]
        for found in threads.map(merge_reports, pairs, owns):
            undefined = found.scalars.pop("c")
            assert (found.points, found.scalars) == (1.5, {"a": 2.5, "b": 5.0, "d": 2.0})
            assert np.isnan(undefined)
            assert found.updated == {"same": 0.1, "x": 2.0, "y": 7.0}
