"""The terms of PPO's objective: pure functions of one minibatch, [B] in and [B] out.

Every loss is to be minimised. Nothing here knows the network, the optimiser or time.
"""

import tensorflow as tf

# An advantage below this standard deviation is noise: normalising divides by no less.
NORMALIZATION_FLOOR = 1e-8


def normalized(advantages: tf.Tensor) -> tf.Tensor:
    """Advantages of a minibatch with mean 0 and (population) standard deviation 1, [B]."""
    centred = advantages - tf.reduce_mean(advantages)
    return centred / (tf.math.reduce_std(advantages) + NORMALIZATION_FLOOR)


def entropy(logits: tf.Tensor) -> tf.Tensor:
    """H = - sum_i pi_i log pi_i of the softmax policy, in nats: [B, A] -> [B]."""
    log_probs = tf.nn.log_softmax(logits)
    return -tf.reduce_sum(tf.exp(log_probs) * log_probs, axis=-1)


def surrogate(
    log_probs: tf.Tensor,
    old_log_probs: tf.Tensor,
    advantages: tf.Tensor,
    clip_range: tf.Tensor | float,
) -> tf.Tensor:
    """The clipped surrogate (Schulman et al. 2017, eq. 7), as a loss, [B].

    L = -min(A r, A clip(r, 1 - eps, 1 + eps)),   r = pi / pi_old
    """
    ratios = tf.exp(log_probs - old_log_probs)
    clipped = tf.clip_by_value(ratios, 1.0 - clip_range, 1.0 + clip_range)
    return -tf.minimum(advantages * ratios, advantages * clipped)


def value_loss(
    values: tf.Tensor,
    old_values: tf.Tensor,
    returns: tf.Tensor,
    value_clip_range: float | None,
) -> tf.Tensor:
    """Half the squared error of the values, [B].

    With a clip range the worse of two errors counts: that of the value, and that of the value
    kept within the range around the old one (as in the baselines; not in the paper).
    """
    errors = tf.square(values - returns)
    if value_clip_range is not None:
        near = old_values + tf.clip_by_value(
            values - old_values, -value_clip_range, value_clip_range
        )
        errors = tf.maximum(errors, tf.square(near - returns))
    return 0.5 * errors


def approx_kl(log_probs: tf.Tensor, old_log_probs: tf.Tensor) -> tf.Tensor:
    """(r - 1) - log r, an unbiased and never negative estimate of KL(pi_old | pi), [B].

    http://joschu.net/blog/kl-approx.html
    """
    log_ratios = log_probs - old_log_probs
    return tf.math.expm1(log_ratios) - log_ratios


def clip_fraction(
    log_probs: tf.Tensor, old_log_probs: tf.Tensor, clip_range: tf.Tensor | float
) -> tf.Tensor:
    """1 where the ratio is more than the clip range from 1, else 0, [B]."""
    ratios = tf.exp(log_probs - old_log_probs)
    return tf.cast(tf.abs(ratios - 1.0) > clip_range, log_probs.dtype)
