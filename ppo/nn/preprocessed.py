"""Observations that an update prepares once for all its epochs."""

from typing import Any

import keras
import tensorflow as tf

from ppo.nn import pixels
from ppo.nn.compiled import compiled
from ppo.system.arrays import cuts
from ppo.system.device import has_gpu


class SplitNetwork:
    """An image network in two parts: ``prepare`` runs the weight-free layers on a whole batch, and
    ``network`` takes the result. Vector observations are taken unchanged.
    """

    def __init__(self, network: keras.Model, batch_size: int, chunk_size: int, shards: int):
        """``prepare`` computes ``chunk_size`` samples at a time, a divisor of the batch."""
        self._prepare, self.network = in_two(network)
        self._batch_size, self._chunk_size, self._shards = batch_size, chunk_size, shards
        # A CPU reuses the memory of the result, because allocating it costs more than writing into
        # it. On a GPU, writing into it would copy everything to the CPU and back.
        self._kept = None
        if self._prepare and not has_gpu():
            self._kept = tf.nest.map_structure(
                lambda x: tf.Variable(tf.zeros([batch_size, *x.shape[1:]], x.dtype), False),
                self._prepare.output,
            )
        self._fill = compiled(self._fill_kept)

    def prepare(self, observations: tf.Tensor) -> Any:
        """Prepare a batch: a tensor or a list of tensors, valid until the next call."""
        if self._prepare is None:
            return observations
        if self._kept is None:
            return self._prepare(observations)
        self._fill(observations)
        return self._kept

    def _fill_kept(self, observations: tf.Tensor) -> None:
        prepare = self._prepare
        assert prepare

        def fill_chunk(start: tf.Tensor) -> tuple[tf.Tensor]:
            for begin, end in cuts(self._chunk_size, self._shards):
                rows = start + tf.range(begin, end)
                prepared = prepare(observations[start + begin : start + end])
                for kept, tensor in zip(*map(tf.nest.flatten, (self._kept, prepared)), strict=True):
                    kept.scatter_update(tf.IndexedSlices(tensor, rows))
            return (start + self._chunk_size,)

        tf.while_loop(lambda start: start < self._batch_size, fill_chunk, (tf.constant(0),))


def in_two(model: keras.Model) -> tuple[keras.Model | None, keras.Model]:
    """Split an image network into weight-free preprocessing, or None, and the rest."""
    layer = next((layer for layer in model.layers if isinstance(layer, pixels.Pixels)), None)
    if layer is None:
        return None, model
    prepared = layer.output
    return keras.Model(model.input, prepared), keras.Model(prepared, model.outputs)
