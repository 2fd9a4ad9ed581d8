"""The per-sample terms of PPO's objective: pure functions of one minibatch, [B] out.

Every loss is to be minimised. Nothing here depends on the network, the optimiser or time.

Notation: A is an action's advantage, r = pi / pi_old the ratio of its probabilities, and eps the
clip range. ``ppo.surrogates`` has the experimental replacements of the clipped surrogate.
"""

from collections.abc import Callable

import tensorflow as tf

from ppo.nn.shapes import check_vectors
from ppo.surrogates import surrogate, target_policy  # noqa: F401 (users import them from here)

# Added to the standard deviation, so a standard deviation of 0 gives 0 and not 0/0.
NORMALIZATION_EPSILON = 1e-8


def normalized(
    advantages: tf.Tensor, std_floor: float = 0.0, moments: tf.Tensor | None = None
) -> tf.Tensor:
    """Return a minibatch's advantages, [B], with mean 0, divided by their (population) standard
    deviation or by ``std_floor``, whichever is larger. If the minibatch is shared, ``moments``
    are the mean and standard deviation of the whole minibatch, [2].
    """
    check_vectors(advantages)
    if moments is None:
        mean, std = tf.reduce_mean(advantages), tf.math.reduce_std(advantages)
    else:
        mean, std = moments[0], moments[1]
    centred = advantages - mean
    if std_floor:
        std = tf.maximum(std, std_floor)
    return centred / (std + NORMALIZATION_EPSILON)


def log_prob(logits: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """Return log pi(a|s) of the softmax policy: logits [B, A], actions [B] integers -> [B]."""
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(labels=actions, logits=logits)


def entropy(logits: tf.Tensor) -> tf.Tensor:
    """Return H = - sum_i pi_i log pi_i of the softmax policy, in nats: [B, A] -> [B]."""
    log_probs = tf.nn.log_softmax(logits)
    return -tf.reduce_sum(tf.exp(log_probs) * log_probs, axis=-1)


def pseudo_entropy(logits: tf.Tensor) -> tf.Tensor:
    """Return H' = sum_i pi_i (1 - pi_i) of the softmax policy: [B, A] -> [B].

    It is 1 - 1/N for a uniform policy over N actions, and 0 for a certain one. H' is the
    expectation of 1 - pi_a for a sampled action a. The derivative of log pi_a with respect to
    its logit is 1 - pi_a, so the policy's gradient shrinks as the policy grows certain.
    """
    probs = tf.nn.softmax(logits)
    return tf.reduce_sum(probs * (1.0 - probs), axis=-1)


def clipped_surrogate(
    ratios: tf.Tensor, advantages: tf.Tensor, clip_range: tf.Tensor | float
) -> tf.Tensor:
    """Return -min(A r, A clip(r, 1 - eps, 1 + eps)), [B] (Schulman et al. 2017, eq. 7)."""
    check_vectors(ratios, advantages)
    clipped_ratios = tf.clip_by_value(ratios, 1.0 - clip_range, 1.0 + clip_range)
    return -tf.minimum(advantages * ratios, advantages * clipped_ratios)


def value_loss(
    values: tf.Tensor, old_values: tf.Tensor, returns: tf.Tensor, value_clip_range: float | None
) -> tf.Tensor:
    """Return half the squared error of the values, [B].

    With a clip range it is the larger of two errors: the error of the value, and the error of the
    value clipped to the range around the old one (as in baselines; not in the paper).
    """
    check_vectors(values, old_values, returns)
    errors = tf.square(values - returns)
    if value_clip_range is not None:
        clipped_values = old_values + tf.clip_by_value(
            values - old_values, -value_clip_range, value_clip_range
        )
        errors = tf.maximum(errors, tf.square(clipped_values - returns))
    return 0.5 * errors


Mean = Callable[[tf.Tensor], tf.Tensor]


def value_rescaling(
    kind: str,
    pseudo_entropy: tf.Tensor,
    smoothed: tf.Tensor,
    decay: float,
    mean: Mean = tf.reduce_mean,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return each sample's scale of the value loss, [B], and the new rescaling state.

      "none"        1
      "per_state"   H' of the sample's own state
      "per_batch"   the minibatch's mean of H'
      "smoothed"    mean of the minibatches' means, weighted by decay^age

    ``smoothed`` is the rescaling state, [2]: the decayed sum of the minibatches' means of H', and
    the decayed sum of ones. Their quotient is the scale. The state starts at zeros, so the first
    scale is the first mean. No gradient flows through a scale. ``mean`` averages over the whole
    minibatch, even if the samples are only a part of it.
    """
    check_vectors(pseudo_entropy)
    entropies = tf.stop_gradient(pseudo_entropy)
    if kind == "none":
        return tf.ones_like(entropies), smoothed
    if kind == "per_state":
        return entropies, smoothed
    scale = mean(entropies)
    if kind == "smoothed":
        smoothed = decay * smoothed + tf.stack([scale, tf.ones_like(scale)])
        scale = smoothed[0] / smoothed[1]
    elif kind != "per_batch":
        raise ValueError(f"there is no value rescaling {kind!r}")
    return tf.fill(tf.shape(entropies), scale), smoothed


def feature_drift(features: tf.Tensor, old_features: tf.Tensor) -> tf.Tensor:
    """Return the mean over units of (phi - phi_old)^2: [B, D], [B, D] -> [B]. It measures how far
    the last hidden layer's pre-activations have moved since the rollout.

    Proximal feature optimisation (Moalla et al. 2024, arXiv:2405.00662, section 4) penalises its
    mean. Raises ValueError unless both have one shape of rank 2.
    """
    if features.shape.rank != 2 or not features.shape.is_compatible_with(old_features.shape):
        raise ValueError(f"features are [B, D], got {features.shape} and {old_features.shape}")
    return tf.reduce_mean(tf.square(features - old_features), axis=-1)


def kl(old_log_policy: tf.Tensor, log_policy: tf.Tensor) -> tf.Tensor:
    """Return KL(pi_old | pi), the sum over all actions, from log-policies [B, A] -> [B]."""
    return tf.reduce_sum(tf.exp(old_log_policy) * (old_log_policy - log_policy), -1)


def approx_kl(log_probs: tf.Tensor, old_log_probs: tf.Tensor) -> tf.Tensor:
    """Return (r - 1) - log r, an unbiased and never negative estimate of KL(pi_old | pi), [B].

    http://joschu.net/blog/kl-approx.html
    """
    log_ratios = log_probs - old_log_probs
    return tf.math.expm1(log_ratios) - log_ratios


def clip_fraction(ratios: tf.Tensor, clip_range: tf.Tensor | float) -> tf.Tensor:
    """Return 1 where the ratio differs from 1 by more than the clip range, else 0, [B]."""
    return tf.cast(tf.abs(ratios - 1.0) > clip_range, ratios.dtype)
