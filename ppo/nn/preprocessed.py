"""What an update makes of a rollout's observations, once for all its epochs."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ppo.nn import pixels
from ppo.nn.shards import cuts
from ppo.system.device import has_gpu


class Inputs:
    """A network for pictures in two: ``of`` computes, for a whole batch, what depends on no
    weights, and ``network`` takes that. A network of flat observations takes these themselves.
    """

    def __init__(self, network: keras.Model, batch_size: int, part: int, shards: int):
        """At a time ``part`` samples are computed, which divides the batch, in ``shards`` parallel
        slices.
        """
        self._prepare, self.network = in_two(network)
        self._batch_size, self._part, self._shards = batch_size, part, shards
        # Kept on a CPU, where new memory of this size costs more than what is written into it. On a
        # GPU bytes are scattered by the CPU, with a copy of all of it there and back.
        self._kept = None
        if self._prepare and not has_gpu():
            self._kept = tf.nest.map_structure(self._room, self._prepare.output)
        self._fill: Callable = tf.function(self._fill_kept, autograph=False)

    def of(self, observations: tf.Tensor) -> Any:
        """A tensor, or a list of them, of as many samples; it is valid until the next call."""
        prepare = self._prepare
        if prepare is None:
            return observations
        if self._kept is None:
            return prepare(observations)
        self._fill(observations)
        return self._kept

    def _fill_kept(self, observations: tf.Tensor) -> None:
        prepare = self._prepare
        assert prepare is not None

        def part(first: tf.Tensor) -> tuple[tf.Tensor]:
            for begin, end in cuts(self._part, self._shards):
                rows = first + tf.range(begin, end)
                self._keep(prepare(observations[first + begin : first + end]), rows)
            return (first + self._part,)

        tf.while_loop(lambda first: first < self._batch_size, part, (tf.constant(0),))

    def _keep(self, made: Any, rows: tf.Tensor) -> None:
        def write(room: tf.Variable, tensor: tf.Tensor) -> None:
            room.scatter_update(tf.IndexedSlices(tensor, rows))

        tf.nest.map_structure(write, self._kept, made)

    def _room(self, output: keras.KerasTensor) -> tf.Variable:
        shape = [self._batch_size, *output.shape[1:]]
        return tf.Variable(tf.zeros(shape, output.dtype), trainable=False)


def in_two(model: keras.Model) -> tuple[keras.Model | None, keras.Model]:
    """What of a network for pictures depends on no weights, and the rest, which takes what that
    gives; None and the network itself if it takes flat observations.
    """
    if not any(layer.name == pixels.NAME for layer in model.layers):
        return None, model
    prepared = model.get_layer(pixels.NAME).output
    return keras.Model(model.input, prepared), keras.Model(prepared, model.outputs)
