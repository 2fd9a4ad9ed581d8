"""A batch cut into slices that are computed side by side."""

from typing import Any

import keras
import tensorflow as tf

from ppo.system.arrays import cuts


def in_shards(
    model: keras.Model, observations: Any, shards: int, rows: tf.Tensor | None = None
) -> tuple[tf.Tensor, ...]:
    """Return the model's outputs (logits, values, ...) for ``observations``, a tensor or a list of
    tensors, or only for ``rows`` of them. They are computed as ``shards`` independent slices.

    Every operation uses one thread; the slices keep all cores busy, forward and backward.
    """
    size = tf.nest.flatten(observations)[0].shape[0] if rows is None else rows.shape[0]

    def part(first: int, last: int) -> tuple[tf.Tensor, ...]:
        def sliced(tensor: tf.Tensor) -> tf.Tensor:
            return tensor[first:last] if rows is None else tf.gather(tensor, rows[first:last])

        return model(tf.nest.map_structure(sliced, observations))

    parts = [part(first, last) for first, last in cuts(size, shards)]
    return tuple(tf.concat(output, 0) for output in zip(*parts, strict=True))
