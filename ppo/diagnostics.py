"""Diagnostics of gradient and network, separate from the update and without effect on it."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ppo.model import HEADS, log_prob
from ppo.objective import Batch, objective
from ppo.params import Params


def layer_names(model: keras.Model) -> list[str]:
    """The layers that have weights, trunk first."""
    return [layer.name for layer in model.layers if layer.trainable_weights]


class Diagnostics:
    """Measures one minibatch with the policy that played it, before its update."""

    def __init__(self, model: keras.Model, params: Params):
        self.params = params
        self._layers = [layer for layer in model.layers if layer.trainable_weights]
        self._trunk = [layer for layer in self._layers if layer.name not in HEADS]
        activations = [layer.output for layer in self._trunk]
        self._model = keras.Model(model.inputs, [*model.outputs, *activations])
        self._graph: Callable = tf.function(self._measure)

    def measure(
        self, batch: Batch, key: np.ndarray, clip_range: float, smoothed: np.ndarray
    ) -> dict[str, float]:
        """The scalars, from one minibatch that ``key`` draws from the batch.

        ``trunk/value_share``  |g_v| / (|g_v| + |g_p|), the norms of the value part's and of the
                               policy part's gradient in the shared trunk
        ``trunk/value_cosine`` their cosine
        ``layers/grad_norm_*`` norm of the whole gradient in a layer
        ``layers/dead_*``      share of a layer's units that are 0 for every sample and position
        """
        share, cosine, norms, dead = self._graph(
            batch,
            tf.constant(key),
            tf.constant(clip_range, tf.float32),
            tf.constant(smoothed, tf.float32),
        )
        scalars = {"trunk/value_share": float(share), "trunk/value_cosine": float(cosine)}
        for layer, norm in zip(self._layers, norms.numpy(), strict=True):
            scalars[f"layers/grad_norm_{layer.name}"] = float(norm)
        for layer, part in zip(self._trunk, dead.numpy(), strict=True):
            scalars[f"layers/dead_{layer.name}"] = float(part)
        return scalars

    def _measure(
        self, whole: Batch, key: tf.Tensor, clip_range: tf.Tensor, smoothed: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        order = tf.random.experimental.stateless_shuffle(tf.range(len(whole.actions)), key)
        batch = whole.rows(order[: self.params.minibatch_size])
        weights = [[w.value for w in layer.trainable_weights] for layer in self._layers]
        with tf.GradientTape(persistent=True) as tape:
            logits, values, *activations = self._model(batch.observations)
            log_probs = log_prob(logits, batch.actions)
            parts = objective(logits, log_probs, values, batch, clip_range, smoothed, self.params)
        policy = [_gradients(tape, parts.policy_part, layer) for layer in weights]
        value = [_gradients(tape, parts.value_part, layer) for layer in weights]
        trunk = [i for i, layer in enumerate(self._layers) if layer.name not in HEADS]
        in_policy = [gradient for i in trunk for gradient in policy[i]]
        in_value = [gradient for i in trunk for gradient in value[i]]
        policy_norm, value_norm = tf.linalg.global_norm(in_policy), tf.linalg.global_norm(in_value)
        dot = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(in_policy, in_value, strict=True)])
        norms = [
            tf.linalg.global_norm([a + b for a, b in zip(p, v, strict=True)])
            for p, v in zip(policy, value, strict=True)
        ]
        dead = [_dead_share(activation) for activation in activations]
        return (
            value_norm / (value_norm + policy_norm),
            dot / (value_norm * policy_norm),
            tf.stack(norms),
            tf.stack(dead),
        )


def _gradients(
    tape: tf.GradientTape, part: tf.Tensor, weights: list[tf.Variable]
) -> list[tf.Tensor]:
    """A part's gradients; zero for a head that does not enter it."""
    return tape.gradient(part, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _dead_share(activations: tf.Tensor) -> tf.Tensor:
    """Share of the units (last axis) of [B, ..., units] that are 0 along all other axes."""
    axes = list(range(len(activations.shape) - 1))
    return tf.reduce_mean(tf.cast(tf.reduce_all(activations == 0.0, axes), tf.float32))
