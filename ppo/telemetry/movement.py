"""Measures of gradients, of weights and of features: pure functions of tensors."""

import tensorflow as tf

RANK_SHARE = 0.99  # of the squared singular values


def cut_share(norm: tf.Tensor, max_norm: float) -> tf.Tensor:
    """Return the share of a gradient removed by a clip of its norm, 1 - min(1, c / |g|), scalar."""
    return 1.0 - tf.minimum(1.0, max_norm / norm)


def layer_movement(
    before: list[tf.Tensor], after: list[tf.Tensor], learning_rate: tf.Tensor
) -> tf.Tensor:
    """Return how far an update moved the weights w of one layer, [3]. With d the change of w:

    root mean square of d and largest |d|, both divided by the learning rate; and |d| / |w|
    """
    steps = [new - old for new, old in zip(after, before, strict=True)]
    norm, size = tf.linalg.global_norm(steps), sum(weight.shape.num_elements() for weight in before)
    largest = tf.reduce_max([tf.reduce_max(tf.abs(step)) for step in steps])
    root_mean_square = norm / (learning_rate * size**0.5)
    change = norm / tf.linalg.global_norm(before)
    return tf.stack([root_mean_square, largest / learning_rate, change])


def effective_rank(features: tf.Tensor) -> tf.Tensor:
    """Return the smallest k such that the k largest of the features' squared singular values make
    up RANK_SHARE of their sum (Moalla et al. 2024, arXiv:2405.00662): [n, D] -> int; 0 if all
    are 0.
    """
    squares = tf.square(tf.linalg.svd(features, compute_uv=False))
    total = tf.reduce_sum(squares)
    below = tf.cumsum(squares) < RANK_SHARE * total
    rank = 1 + tf.reduce_sum(tf.cast(below, tf.int32))
    return tf.where(total > 0, rank, 0)


def cosine(a: list[tf.Tensor], b: list[tf.Tensor]) -> tf.Tensor:
    """Return the cosine of the angle between two gradients, lists of tensors; NaN if one is 0."""
    dot = tf.add_n([tf.reduce_sum(x * y) for x, y in zip(a, b, strict=True)])
    return dot / (tf.linalg.global_norm(a) * tf.linalg.global_norm(b))
