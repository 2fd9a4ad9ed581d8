"""Check the shapes of tensors."""

import tensorflow as tf


def check_vectors(*tensors: tf.Tensor) -> None:
    """Raise ValueError unless all tensors are vectors of one length, [B].

    [B, 1] and [B] would silently broadcast to [B, B]. Shapes are known when a graph is traced, so
    the check costs nothing at run time.
    """
    shapes = [tensor.shape for tensor in map(tf.convert_to_tensor, tensors)]
    if not all(shape.rank == 1 and shape.is_compatible_with(shapes[0]) for shape in shapes):
        raise ValueError(f"losses take vectors of one length [B], got {list(map(str, shapes))}")
