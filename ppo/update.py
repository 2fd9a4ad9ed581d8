"""Improving the policy on one rollout: epochs x minibatches of gradient steps, one graph."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from ppo.arrays import is_shareable
from ppo.model import in_shards, log_prob
from ppo.objective import MAXIMA, STATISTICS, Batch, objective
from ppo.params import Params

ADAM_BETA_1, ADAM_BETA_2 = 0.9, 0.999


def flattened(
    observations: np.ndarray,
    actions: np.ndarray,
    log_probs: np.ndarray,
    values: np.ndarray,
    advantages: np.ndarray,
    returns: np.ndarray,
) -> Batch:
    """[T, N, ...] arrays as a Batch of B = T N samples. It may share their memory, so that it is
    good until they change.
    """
    arrays = (observations, actions, log_probs, values, advantages, returns)
    return Batch(*(_tensor(array.reshape(-1, *array.shape[2:])) for array in arrays))


def _tensor(array: np.ndarray) -> tf.Tensor:
    if is_shareable(array):
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


class Adam:
    """Adam (Kingma and Ba 2015) in its fused form, one operation a weight.

    w -= learning_rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)

    ``epsilon`` is the paper's "epsilon hat", as in Keras; PyTorch adds its own to the
    bias-corrected root instead.
    """

    def __init__(self, weights: list[tf.Variable], epsilon: float):
        self.weights, self.epsilon = weights, epsilon
        self.first = [tf.Variable(tf.zeros_like(w)) for w in weights]
        self.second = [tf.Variable(tf.zeros_like(w)) for w in weights]
        self.updates = tf.Variable(0, dtype=tf.int64)

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """One step down the gradients."""
        count = tf.cast(self.updates.assign_add(1), tf.float32)
        for w, m, v, gradient in zip(self.weights, self.first, self.second, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=w.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=tf.pow(ADAM_BETA_1, count),
                beta2_power=tf.pow(ADAM_BETA_2, count),
                lr=learning_rate,
                beta1=ADAM_BETA_1,
                beta2=ADAM_BETA_2,
                epsilon=self.epsilon,
                grad=gradient,
            )

    def variables(self) -> list[tf.Variable]:
        """Its whole state."""
        return [*self.first, *self.second, self.updates]


@dataclass(frozen=True)
class UpdateResult:
    """What an update did.

    ``means`` [epochs, STATISTICS and the gradient's norm] and ``maxima`` [epochs, MAXIMA] have
    a row for each epoch that was made. ``smoothed`` is the value rescaling's memory. ``finite``
    is False if a gradient was not; that one was not applied, and nothing came after it.
    """

    means: np.ndarray
    maxima: np.ndarray
    smoothed: np.ndarray
    finite: bool

    @property
    def epochs(self) -> int:
        """Epochs that were made."""
        return len(self.means)

    def scalars(self) -> dict[str, float]:
        """Each statistic over every minibatch of every epoch, and epoch by epoch."""
        mean = dict(zip((*STATISTICS, "grad_norm"), self.means.mean(0).tolist(), strict=True))
        kl, ratio = STATISTICS.index("approx_kl"), STATISTICS.index("ratio")
        scalars = {f"train/{name}": value for name, value in mean.items()}
        scalars["train/approx_kl_max"] = float(self.means[:, kl].max())
        scalars["train/ratio_max"] = float(self.maxima[:, MAXIMA.index("ratio")].max())
        for number, (means, maxima) in enumerate(zip(self.means, self.maxima, strict=True), 1):
            scalars[f"epochs/approx_kl_{number}"] = float(means[kl])
            scalars[f"epochs/approx_kl_max_{number}"] = float(maxima[MAXIMA.index("approx_kl")])
            scalars[f"epochs/ratio_{number}"] = float(means[ratio])
            scalars[f"epochs/ratio_max_{number}"] = float(maxima[MAXIMA.index("ratio")])
        return scalars


class Updater:
    """Network and optimiser of a run, and the compiled update of both, ``shards`` parts at once."""

    def __init__(self, model: keras.Model, params: Params, shards: int):
        self.model, self.params, self.shards = model, params, shards
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
        """All epochs and minibatches over one batch; ``key`` shuffles it anew each epoch."""
        means, maxima, epochs, memory, finite = self._graph(
            *batch.tensors(),
            tf.constant(key),
            tf.constant(learning_rate, tf.float32),
            tf.constant(clip_range, tf.float32),
            tf.constant(smoothed, tf.float32),
        )
        made = int(epochs)
        return UpdateResult(
            means.numpy()[:made], maxima.numpy()[:made], memory.numpy(), bool(finite)
        )

    def _update(self, *arguments: tf.Tensor) -> tuple[tf.Tensor, ...]:
        *tensors, key, learning_rate, clip_range, smoothed = arguments
        p = self.params
        means = tf.zeros([p.num_epochs, len(STATISTICS) + 1])
        maxima = tf.zeros([p.num_epochs, len(MAXIMA)])
        epochs, finite, go_on = tf.constant(0), tf.constant(True), tf.constant(True)
        while epochs < p.num_epochs and go_on:
            order = tf.random.experimental.stateless_shuffle(
                tf.range(p.batch_size), tf.stack([key[0], key[1] + epochs])
            )
            rows = tf.reshape(order, [p.num_minibatches, p.minibatch_size])
            sums, tops = tf.zeros(len(STATISTICS) + 1), tf.zeros(len(MAXIMA))
            minibatch = tf.constant(0)
            while minibatch < p.num_minibatches and finite:
                batch = Batch(*(tf.gather(tensor, rows[minibatch]) for tensor in tensors))
                statistics, highest, smoothed, finite = self._minibatch(
                    batch, learning_rate, clip_range, smoothed
                )
                sums, tops = sums + statistics, tf.maximum(tops, highest)
                minibatch += 1
            epoch_means = sums / p.num_minibatches
            here = tf.one_hot(epochs, p.num_epochs)[:, tf.newaxis]
            means, maxima = means + here * epoch_means, maxima + here * tops
            go_on = finite
            if p.target_kl is not None:
                go_on = finite and epoch_means[STATISTICS.index("approx_kl")] <= p.target_kl
            epochs += 1
        return means, maxima, epochs, smoothed, finite

    def _minibatch(
        self, batch: Batch, learning_rate: tf.Tensor, clip_range: tf.Tensor, smoothed: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """One gradient step; a gradient that is not finite is not applied."""
        with tf.GradientTape() as tape:
            logits, values = in_shards(self.model, batch.observations, self.shards)
            log_probs = log_prob(logits, batch.actions)
            result = objective(logits, log_probs, values, batch, clip_range, smoothed, self.params)
            loss = result.policy_part + result.value_part
        gradients = tape.gradient(loss, self.weights)
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss)
        if finite:
            clipped, _ = tf.clip_by_global_norm(gradients, self.params.max_grad_norm, norm)
            self.adam.apply(clipped, learning_rate)
        statistics = tf.concat([result.statistics, [norm]], 0)
        return statistics, result.maxima, result.smoothed, finite
