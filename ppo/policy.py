"""The policy: the actions and values that a network gives for observations."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ppo import model
from ppo.errors import NotFinite
from ppo.losses import log_prob
from ppo.nn.bfloat16 import round_weights, rounded
from ppo.nn.compiled import compiled
from ppo.nn.shards import in_shards
from ppo.settings.fields import Choice, NetworkSettings


class Decisions(NamedTuple):
    """A policy's output for n observations, all [n]."""

    actions: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray


class Policy:
    """A network, and how actions are chosen from its distribution: sampled, or greedy (the most
    probable). Actions are computed in ``shards`` parallel slices. After a bfloat16 network's
    weights change, call ``prepare`` before ``act`` or ``values``.
    """

    def __init__(self, network: keras.Model, shards: int = 1, choice: Choice = "sampled"):
        self.network, self.choice = network, choice
        self._shards = shards
        self._twin = rounded(network)
        self._round = compiled(lambda: round_weights(network, self._twin))
        self.prepare()
        self._graph = compiled(self._decide)
        # Cached by shape: for a small network tf.function's own lookup takes a quarter of a call.
        self._graph_for = functools.cache(self._concrete)
        self._values = compiled(
            lambda observations: self._twin(observations)[1], reduce_retracing=True
        )
        self._logits_and_values = compiled(
            lambda observations: network(observations), reduce_retracing=True
        )

    def choosing(self, choice: Choice) -> "Policy":
        """Return a policy of the same network with this ``choice``."""
        return self if choice == self.choice else Policy(self.network, self._shards, choice)

    def prepare(self) -> None:
        """Round the present weights of a bfloat16 network for ``act`` and ``values``."""
        if self._twin is not self.network:
            self._round()

    def act(self, observations: np.ndarray, key: np.ndarray) -> Decisions:
        """Choose actions for observations [n, ...]; ``key`` is from ``ppo.system.keys``. Raises
        NotFinite if a log-probability or value is not finite.
        """
        decided = self._graph_for(observations.shape)(tf.constant(observations), tf.constant(key))
        decisions = Decisions(*(tensor.numpy() for tensor in decided))
        if not (np.isfinite(decisions.log_probs).all() and np.isfinite(decisions.values).all()):
            raise NotFinite(observations)
        return decisions

    def values(self, observations: np.ndarray) -> np.ndarray:
        """Return the values of observations [n, ...], [n]."""
        return self._values(tf.constant(observations)).numpy()

    def probabilities_and_values(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the action probabilities, [n, A], and the values, [n], of observations."""
        logits, values = self._logits_and_values(tf.constant(observations))
        return tf.nn.softmax(logits).numpy(), values.numpy()

    def _decide(
        self, observations: tf.Tensor, key: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        logits, values = in_shards(self._twin, observations, self._shards)
        if self.choice == "greedy":
            actions = tf.argmax(logits, axis=-1, output_type=tf.int32)
        else:
            actions = tf.random.stateless_categorical(logits, 1, key, dtype=tf.int32)[:, 0]
        # NaN logits sample the index num_actions; clamp it.
        actions = tf.minimum(actions, logits.shape[1] - 1)
        return actions, log_prob(logits, actions), values

    def _concrete(self, shape: tuple[int, ...]) -> Callable:
        return self._graph.get_concrete_function(  # type: ignore[attr-defined]
            tf.TensorSpec(shape, self.network.inputs[0].dtype), tf.TensorSpec([2], tf.int32)
        )


def policy_of(
    observation_shape: tuple[int, ...],
    settings: NetworkSettings,
    weights: list[np.ndarray],
    shards: int = 1,
) -> Policy:
    """Return the sampled policy of a network with these weights, in the order of ``get_weights``.
    The last array must be the policy head's biases, one for each action.

    Raises ValueError if the weights do not fit the settings.
    """
    num_actions = weights[-1].size if weights else 0
    network = model.build_model(observation_shape, num_actions, settings)
    theirs, ours = ([array.shape for array in own] for own in (weights, network.get_weights()))
    if theirs != ours:
        raise ValueError(f"its weights have shapes {theirs}, the network's {ours}")
    network.set_weights(weights)
    return Policy(network, shards)
