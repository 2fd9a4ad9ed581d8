"""Improving the policy on one rollout: epochs x minibatches of gradient steps, one graph."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from ppo.distribution import OneWorker, Workers
from ppo.model import in_shards, log_prob
from ppo.objective import Batch, Maxima, Means, objective
from ppo.optimizer import Adam
from ppo.params import Params
from ppo.process.arrays import is_shareable

NO_MEMORY = np.zeros(2, np.float32)  # initial state of the smoothed value rescaling


def flattened(
    observations: np.ndarray,
    actions: np.ndarray,
    log_probs: np.ndarray,
    values: np.ndarray,
    advantages: np.ndarray,
    returns: np.ndarray,
) -> Batch:
    """[T, N, ...] arrays as a Batch of B = T N samples. It may share their memory, and is valid
    until they change.
    """
    arrays = (observations, actions, log_probs, values, advantages, returns)
    return Batch(*(_tensor(array.reshape(-1, *array.shape[2:])) for array in arrays))


def _tensor(array: np.ndarray) -> tf.Tensor:
    if is_shareable(array):
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


@dataclass(frozen=True)
class UpdateResult:
    """The result of an update.

    ``means``, ``maxima`` and ``grad_norms`` have an entry for each epoch that ran: the mean, or
    the largest value, over its minibatches. ``smoothed`` is the value rescaling's state.
    ``finite`` is False if a gradient was not, which was not applied, or if a weight or a moment of
    the optimiser no longer is.
    """

    means: dict[str, np.ndarray]
    maxima: dict[str, np.ndarray]
    grad_norms: np.ndarray
    smoothed: np.ndarray
    finite: bool

    @property
    def epochs(self) -> int:
        """Epochs that ran."""
        return len(self.grad_norms)

    def scalars(self) -> dict[str, float]:
        """Each statistic over every minibatch of every epoch, and epoch by epoch."""
        by_epoch = self.means | {"grad_norm": self.grad_norms}
        means = np.stack(list(by_epoch.values()), axis=1).mean(0).tolist()
        scalars = {f"train/{name}": mean for name, mean in zip(by_epoch, means, strict=True)}
        scalars["train/approx_kl_max"] = float(self.means["approx_kl"].max())
        scalars["train/ratio_max"] = float(self.maxima["ratio"].max())
        for name in ("approx_kl", "ratio"):
            for epoch in range(self.epochs):
                scalars[f"epochs/{name}_{epoch + 1}"] = float(self.means[name][epoch])
                scalars[f"epochs/{name}_max_{epoch + 1}"] = float(self.maxima[name][epoch])
        return scalars


class Updater:
    """Network and optimiser of a run, and the compiled update of both; a minibatch is computed
    in ``shards`` parallel slices.
    """

    def __init__(
        self, model: keras.Model, params: Params, shards: int, workers: Workers | None = None
    ):
        self.model, self.params, self.shards = model, params, shards
        self.workers = workers or OneWorker()
        self.weights = [weight.value for weight in model.trainable_weights]
        self.adam = Adam(self.weights, params.adam_epsilon)
        self._graph: Callable = tf.function(self._update)

    def update(
        self,
        batch: Batch,
        key: np.ndarray,
        learning_rate: float,
        clip_range: float,
        smoothed: np.ndarray,
    ) -> UpdateResult:
        """All epochs and minibatches over one batch, reshuffled with ``key`` in each epoch."""
        means, maxima, grad_norms, epochs, memory, finite = self._graph(
            batch,
            tf.constant(key),
            tf.constant(learning_rate, tf.float32),
            tf.constant(clip_range, tf.float32),
            tf.constant(smoothed, tf.float32),
        )
        made = int(epochs)
        return UpdateResult(
            {name: tensor.numpy()[:made] for name, tensor in means._asdict().items()},
            {name: tensor.numpy()[:made] for name, tensor in maxima._asdict().items()},
            grad_norms.numpy()[:made],
            memory.numpy(),
            bool(finite),
        )

    def _update(
        self,
        batch: Batch,
        key: tf.Tensor,
        learning_rate: tf.Tensor,
        clip_range: tf.Tensor,
        smoothed: tf.Tensor,
    ) -> tuple[Means, Maxima, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        # The loops carry the statistics as two vectors, each accumulated by one operation.
        p, num_means, num_maxima = self.params, len(Means._fields), len(Maxima._fields)
        means = tf.zeros([p.num_epochs, num_means + 1])
        maxima = tf.zeros([p.num_epochs, num_maxima])
        epochs, finite, proceed = tf.constant(0), tf.constant(True), tf.constant(True)
        while epochs < p.num_epochs and proceed:
            order = tf.random.experimental.stateless_shuffle(
                tf.range(p.batch_size), tf.stack([key[0], key[1] + epochs])
            )
            rows = tf.reshape(order, [p.num_minibatches, p.minibatch_size])
            sums, tops = tf.zeros(num_means + 1), tf.zeros(num_maxima)
            minibatch = tf.constant(0)
            while minibatch < p.num_minibatches and finite:
                of_minibatch, highest, smoothed, finite = self._minibatch(
                    batch.rows(rows[minibatch]), learning_rate, clip_range, smoothed
                )
                sums, tops = sums + of_minibatch, tf.maximum(tops, highest)
                minibatch += 1
            epoch_means = sums / p.num_minibatches
            here = tf.one_hot(epochs, p.num_epochs)[:, tf.newaxis]
            means, maxima = means + here * epoch_means, maxima + here * tops
            proceed = finite
            if p.target_kl is not None:
                kl = Means(*tf.unstack(epoch_means[:-1])).approx_kl
                proceed = finite and self.workers.mean(kl) <= p.target_kl
            epochs += 1
        # A finite gradient can still overflow the optimiser, or a weight.
        state = [*self.weights, *self.adam.first, *self.adam.second]
        all_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in state])
        finite = finite and self.workers.every(all_finite)
        return (
            Means(*tf.unstack(means[:, :-1], axis=1)),
            Maxima(*tf.unstack(maxima, axis=1)),
            means[:, -1],
            epochs,
            smoothed,
            finite,
        )

    def _minibatch(
        self, batch: Batch, learning_rate: tf.Tensor, clip_range: tf.Tensor, smoothed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """One gradient step; a gradient that is not finite is not applied.

        Returns the means followed by the gradient's norm, the maxima, the value rescaling's
        state, and whether all was finite.
        """
        with tf.GradientTape() as tape:
            logits, values = in_shards(self.model, batch.observations, self.shards)
            log_probs = log_prob(logits, batch.actions)
            result = objective(logits, log_probs, values, batch, clip_range, smoothed, self.params)
        gradients = self.workers.mean_gradients(tape.gradient(result.loss, self.weights))
        norm = tf.linalg.global_norm(gradients)
        finite = self.workers.every(tf.math.is_finite(norm) & tf.math.is_finite(result.loss))
        if finite:
            clipped, _ = tf.clip_by_global_norm(gradients, self.params.max_grad_norm, norm)
            self.adam.apply(clipped, learning_rate)
        means = tf.stack([*result.means, norm])
        return means, tf.stack(result.maxima), result.smoothed, finite
