"""The seams for workers: where the update and the trainer ask them, and heed their answer."""

import numpy as np
import pytest
import tensorflow as tf

from ppo import model
from ppo.distribution import OneWorker, connect
from ppo.params import Params
from ppo.resolve import resolved
from ppo.trainer import Trainer
from ppo.update import NO_MEMORY, Updater, UpdateResult
from tests.test_update import KEY, PARAMS, batch, changed


def update(workers: OneWorker, params: Params = PARAMS) -> tuple[list[np.ndarray], UpdateResult]:
    network = model.build((3,), 4, "mlp")
    result = Updater(network, params, 1, workers).update(batch(), KEY, 0.01, 0.1, NO_MEMORY)
    return network.get_weights(), result


class Reversing(OneWorker):
    """As if the other workers' gradients were so large that they turned the mean around."""

    def mean_gradients(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        return [-1e6 * gradient for gradient in gradients]


class Disagreeing(OneWorker):
    """Another worker's number is not finite."""

    def every(self, flag: tf.Tensor) -> tf.Tensor:
        return flag & False


class Ahead(OneWorker):
    """The other workers' KL is large."""

    def mean(self, statistic: tf.Tensor) -> tf.Tensor:
        return statistic + 1.0


class Stopping(OneWorker):
    """Another worker was asked to stop."""

    def any(self, flag: bool) -> bool:
        return True


def test_this_process_is_the_only_worker():
    workers = connect()
    assert workers.count == 1
    assert workers.any(True) and not workers.any(False)


def test_gradients_are_averaged_before_they_are_clipped():
    initial = model.build((3,), 4, "mlp").get_weights()
    ours, _ = update(OneWorker(), changed(num_epochs=1, num_minibatches=1))
    theirs, result = update(Reversing(), changed(num_epochs=1, num_minibatches=1))
    # Adam's first step has the size of the rate whatever the gradient's, so only its sign shows.
    for before, one, other in zip(initial, ours, theirs, strict=True):
        np.testing.assert_allclose(other - before, before - one, atol=2e-4)
    assert result.means["grad_norm"][0] > 1e4


def test_a_number_that_is_not_finite_anywhere_is_applied_nowhere():
    weights, result = update(Disagreeing())
    assert not result.finite
    for before, after in zip(model.build((3,), 4, "mlp").get_weights(), weights, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("workers", "epochs"), [(OneWorker(), 3), (Ahead(), 1)])
def test_target_kl_is_compared_with_the_mean_over_the_workers(workers, epochs):
    _, result = update(workers, changed(target_kl=0.9))
    assert result.epochs == epochs


def test_a_run_stops_when_any_worker_is_asked_to():
    params = resolved(Params(env_id="CartPole-v1", network="mlp", seed=1, threads=1))
    trainer = Trainer(params, Stopping())
    assert list(trainer.iterations()) == []
    trainer.close()
