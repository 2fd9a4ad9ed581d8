"""Improving the policy on one rollout: epochs x minibatches of gradient steps, one graph."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from ppo import losses
from ppo.model import log_prob
from ppo.params import Params

ADAM_BETA_1, ADAM_BETA_2 = 0.9, 0.999

# Averaged over every minibatch of every epoch; the graph keeps them in this order.
STATISTICS = (
    "loss",
    "policy_gradient_loss",
    "value_loss",
    "entropy_loss",
    "approx_kl",
    "clip_fraction",
    "grad_norm",
)


@dataclass(frozen=True)
class Batch:
    """What the update sees of a rollout: [B], and nothing of games or time."""

    observations: tf.Tensor
    actions: tf.Tensor
    old_log_probs: tf.Tensor
    old_values: tf.Tensor
    advantages: tf.Tensor
    returns: tf.Tensor

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The fields, in order."""
        return tuple(vars(self).values())


def flattened(
    observations: np.ndarray,
    actions: np.ndarray,
    log_probs: np.ndarray,
    values: np.ndarray,
    advantages: np.ndarray,
    returns: np.ndarray,
) -> Batch:
    """[T, N, ...] arrays as a Batch of B = T N samples."""
    arrays = (observations, actions, log_probs, values, advantages, returns)
    flat = [array.reshape(-1, *array.shape[2:]) for array in arrays]
    return Batch(*(tf.constant(array) for array in flat))


def minibatch_loss(
    logits: tf.Tensor, values: tf.Tensor, batch: Batch, clip_range: tf.Tensor, params: Params
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The objective of one minibatch, as a loss, and its statistics but for the gradient's.

    mean(surrogate) - entropy_coef mean(entropy) + value_coef mean(value loss)
    """
    advantages = batch.advantages
    if params.normalize_advantages:
        advantages = losses.normalized(advantages)
    log_probs = log_prob(logits, batch.actions)
    policy_loss = tf.reduce_mean(
        losses.surrogate(log_probs, batch.old_log_probs, advantages, clip_range)
    )
    value_loss = tf.reduce_mean(
        losses.value_loss(values, batch.old_values, batch.returns, params.value_clip_range)
    )
    entropy = tf.reduce_mean(losses.entropy(logits))
    loss = policy_loss - params.entropy_coef * entropy + params.value_coef * value_loss
    statistics = [
        loss,
        policy_loss,
        value_loss,
        -entropy,
        tf.reduce_mean(losses.approx_kl(log_probs, batch.old_log_probs)),
        tf.reduce_mean(losses.clip_fraction(log_probs, batch.old_log_probs, clip_range)),
    ]
    return loss, statistics


def in_shards(
    model: keras.Model, observations: tf.Tensor, shards: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The model's (logits, values), computed as independent parts of the graph.

    Every operation uses one thread, so that the parts fill the cores, forward and backward.
    """
    size = observations.shape[0]
    cuts = [size * i // shards for i in range(shards + 1)]
    parts = [model(observations[a:b]) for a, b in itertools.pairwise(cuts) if b > a]
    logits, values = zip(*parts, strict=True)
    return tf.concat(logits, 0), tf.concat(values, 0)


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
    """What an update did. ``finite`` is False if a gradient was not, and none was applied since."""

    statistics: dict[str, float]
    epochs: int
    finite: bool


class Updater:
    """Network and optimiser of a run, and the compiled update of both."""

    def __init__(self, model: keras.Model, params: Params, shards: int):
        self.model, self.params, self.shards = model, params, shards
        self.weights = [weight.value for weight in model.trainable_weights]
        self.adam = Adam(self.weights, params.adam_epsilon)
        self._graph: Callable = tf.function(self._update)

    def update(
        self, batch: Batch, key: np.ndarray, learning_rate: float, clip_range: float
    ) -> UpdateResult:
        """All epochs and minibatches over one batch; ``key`` shuffles it anew each epoch."""
        sums, count, epochs, kl_max, finite = self._graph(
            *batch.tensors(),
            tf.constant(key),
            tf.constant(learning_rate, tf.float32),
            tf.constant(clip_range, tf.float32),
        )
        means = (sums / tf.maximum(count, 1.0)).numpy().tolist()
        statistics = dict(zip(STATISTICS, means, strict=True)) | {"approx_kl_max": float(kl_max)}
        return UpdateResult(statistics, int(epochs), bool(finite))

    def _update(self, *arguments: tf.Tensor) -> tuple[tf.Tensor, ...]:
        *tensors, key, learning_rate, clip_range = arguments
        params = self.params
        sums = tf.zeros(len(STATISTICS))
        count, kl_max = tf.constant(0.0), tf.constant(0.0)
        epochs, finite, go_on = tf.constant(0), tf.constant(True), tf.constant(True)
        while epochs < params.num_epochs and go_on:
            epoch_key = tf.stack([key[0], key[1] + epochs])
            order = tf.random.experimental.stateless_shuffle(tf.range(params.batch_size), epoch_key)
            rows = tf.reshape(order, [params.num_minibatches, params.minibatch_size])
            sums_before, minibatch = sums, tf.constant(0)
            while minibatch < params.num_minibatches and finite:
                batch = Batch(*(tf.gather(tensor, rows[minibatch]) for tensor in tensors))
                statistics, finite = self._minibatch(batch, learning_rate, clip_range)
                if finite:
                    sums += statistics
                    count += 1.0
                minibatch += 1
            epoch_kl = (sums - sums_before)[STATISTICS.index("approx_kl")] / params.num_minibatches
            kl_max = tf.maximum(kl_max, epoch_kl)
            go_on = finite
            if params.target_kl is not None:
                go_on = finite and epoch_kl <= params.target_kl
            epochs += 1
        return sums, count, epochs, kl_max, finite

    def _minibatch(
        self, batch: Batch, learning_rate: tf.Tensor, clip_range: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One gradient step; a gradient that is not finite is not applied."""
        with tf.GradientTape() as tape:
            logits, values = in_shards(self.model, batch.observations, self.shards)
            loss, statistics = minibatch_loss(logits, values, batch, clip_range, self.params)
        gradients = tape.gradient(loss, self.weights)
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss)
        if finite:
            clipped, _ = tf.clip_by_global_norm(gradients, self.params.max_grad_norm, norm)
            self.adam.apply(clipped, learning_rate)
        return tf.stack([*statistics, norm]), finite
