"""Diagnostics of gradient and network, separate from the update and without effect on it."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ppo import losses, model
from ppo.nn.compiled import compiled
from ppo.nn.layers import HEADS
from ppo.nn.shards import in_shards
from ppo.objective import Batch, objective
from ppo.settings import Params
from ppo.telemetry import movement


class Diagnostics:
    """Measures a rollout with the policy that played it, in ``shards``, before its update."""

    def __init__(self, network: keras.Model, params: Params, shards: int = 1):
        self.model, self.params, self.shards = network, params, shards
        self._layers = {
            name: [weight.value for weight in weights]
            for name, weights in model.weighted_layers(network).items()
        }
        self._trunk = [layer for layer in self._layers if layer not in HEADS]
        policy_trunk = model.policy_trunk(network)
        self._policy_trunk = [layer.name for layer in policy_trunk]
        # The layers that the policy's gradient reaches.
        self._weights = [
            weight for layer in (*self._policy_trunk, "policy") for weight in self._layers[layer]
        ]
        # Of a layer with several outputs, such as a state, the first.
        activations = [tf.nest.flatten(network.get_layer(x).output)[0] for x in self._trunk]
        self._with_activations = keras.Model(network.input, [*network.outputs, *activations])
        self._last = keras.Model(network.input, [policy_trunk[-1].input, policy_trunk[-1].output])
        self.compile()

    def compile(self) -> None:
        """Compile the measurements. Call it again after a coefficient of the loss has changed."""
        self._graph = compiled(self._measure)
        self.log_policy = compiled(self._log_policy)

    def measure(
        self, rollout: Batch, key: np.ndarray, clip_range: float, rescaling_state: np.ndarray
    ) -> dict[str, float]:
        """Return the scalars ``trunk/*``, ``layers/grad_norm_*`` and ``layers/dead_*``, which
        ``ppo.telemetry.scalars`` defines. The cosine of the halves uses the whole rollout. The rank
        and the pre-activations' norm use as many samples as the layer has units. Everything else
        uses one minibatch. ``key`` decides which samples are used.
        """
        scalars = self._graph(
            rollout,
            tf.constant(key),
            tf.constant(clip_range, tf.float32),
            tf.constant(rescaling_state, tf.float32),
        )
        return {name: float(scalar) for name, scalar in scalars.items()}

    def update_kl(self, old_log_policy: tf.Tensor, observations: tf.Tensor) -> float:
        """Return the mean KL of the policy from the result of an earlier ``log_policy``."""
        return float(tf.reduce_mean(losses.kl(old_log_policy, self.log_policy(observations))))

    def _log_policy(self, observations: tf.Tensor) -> tf.Tensor:
        """Return log pi(.|s) of a whole rollout, [B, A], computed in minibatches."""
        size = self.params.minibatch_size
        parts = [observations[i : i + size] for i in range(0, observations.shape[0], size)]
        logits = [in_shards(self.model, part, self.shards)[0] for part in parts]
        return tf.concat([tf.nn.log_softmax(part) for part in logits], 0)

    def _measure(
        self, rollout: Batch, key: tf.Tensor, clip_range: tf.Tensor, rescaling_state: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        arguments = {"clip_range": clip_range, "rescaling_state": rescaling_state}
        arguments["params"] = self.params
        order = tf.random.experimental.stateless_shuffle(tf.range(rollout.actions.shape[0]), key)
        minibatch = rollout.rows(order[: self.params.minibatch_size])
        with tf.GradientTape(persistent=True) as tape:
            logits, values, *activations = self._with_activations(minibatch.observations)
            result = objective(logits, values, minibatch, **arguments)
        policy, value = (
            tape.gradient(loss, self._layers, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            for loss in (result.policy_part, result.value_part)
        )
        both = {
            layer: [p + v for p, v in zip(gradients, value[layer], strict=True)]
            for layer, gradients in policy.items()
        }
        # A unit (last axis) is dead if it is 0 on all other axes.
        zeros = [tf.reduce_all(x == 0.0, list(range(len(x.shape) - 1))) for x in activations]
        dead = [tf.reduce_mean(tf.cast(units, tf.float32)) for units in zeros]
        in_trunk = [
            [gradient for layer in self._policy_trunk for gradient in by_layer[layer]]
            for by_layer in (policy, value)
        ]
        policy_norm, value_norm = map(tf.linalg.global_norm, in_trunk)
        units = self._last.outputs[1].shape[-1]
        inputs, outputs = self._last(tf.gather(rollout.observations, order[:units]))
        before = model.preactivations(self.model, inputs)
        return {
            "trunk/value_share": value_norm / (value_norm + policy_norm),
            "trunk/value_cosine": movement.cosine(*in_trunk),
            "trunk/rank": movement.effective_rank(tf.cast(outputs, tf.float32)),
            "trunk/preactivation_norm": tf.reduce_mean(tf.norm(before, axis=-1)),
            "trunk/halves_cosine": self._halves_cosine(rollout, order, **arguments),
            **{f"layers/grad_norm_{layer}": tf.linalg.global_norm(g) for layer, g in both.items()},
            **{f"layers/dead_{name}": share for name, share in zip(self._trunk, dead, strict=True)},
        }

    def _halves_cosine(self, rollout: Batch, order: tf.Tensor, **arguments: Any) -> tf.Tensor:
        """Return the cosine of the policy part's gradients in two halves of a shuffled rollout."""
        half = order.shape[0] // 2
        if not half:
            return tf.constant(np.nan, tf.float32)
        pieces = -(-half // self.params.minibatch_size)
        size = half // pieces
        rows = tf.reshape(order[: 2 * pieces * size], [2 * pieces, size])

        def gradients(piece: tf.Tensor) -> list[tf.Tensor]:
            samples = rollout.rows(piece)
            with tf.GradientTape() as tape:
                logits, values = in_shards(self.model, samples.observations, self.shards)
                loss = objective(logits, values, samples, **arguments).policy_part
            zero = tf.UnconnectedGradients.ZERO
            return tape.gradient(loss, self._weights, unconnected_gradients=zero)

        def half_of(rows: tf.Tensor) -> list[tf.Tensor]:
            def added(sums: list[tf.Tensor], piece: tf.Tensor) -> list[tf.Tensor]:
                return [s + g for s, g in zip(sums, gradients(piece), strict=True)]

            zeros = [tf.zeros_like(weight) for weight in self._weights]
            return tf.foldl(added, rows, zeros, parallel_iterations=1)

        return movement.cosine(half_of(rows[:pieces]), half_of(rows[pieces:]))
