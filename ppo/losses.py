"""The terms of PPO's objective: pure functions of one minibatch, [B] in and [B] out.

Every loss is to be minimised. Nothing here depends on the network, the optimiser or time.

Notation, for an action with advantage A: r = pi / pi_old is the ratio of its probabilities. pi' is
the target: the probability at which the loss stops falling. t = pi' / pi_old is the target's ratio,
s is the sign of A, and eps is the clip range.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from ppo.settings import SurrogateChoice, SurrogateName

# Added to the standard deviation, so equal advantages give 0 and not 0/0.
NORMALIZATION_EPSILON = 1e-8

# The quadratic surrogate's curvature, |A| / |t - 1|, grows without bound as t approaches 1. With
# the logit target, t approaches 1 when pi_old does. This is the lower bound of |t - 1|.
QUADRATIC_TARGET_FLOOR = 1e-3


def check_vectors(*tensors: tf.Tensor) -> None:
    """Raise ValueError unless all tensors are vectors of one length, [B].

    [B, 1] and [B] would silently broadcast to [B, B]. Shapes are known when a graph is traced, so
    the check costs nothing at run time.
    """
    shapes = [tensor.shape for tensor in map(tf.convert_to_tensor, tensors)]
    if not all(shape.rank == 1 and shape.is_compatible_with(shapes[0]) for shape in shapes):
        raise ValueError(f"losses take vectors of one length [B], got {list(map(str, shapes))}")


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


def entropy(logits: tf.Tensor) -> tf.Tensor:
    """Return H = - sum_i pi_i log pi_i of the softmax policy, in nats: [B, A] -> [B]."""
    log_probs = tf.nn.log_softmax(logits)
    return -tf.reduce_sum(tf.exp(log_probs) * log_probs, axis=-1)


def pseudo_entropy(logits: tf.Tensor) -> tf.Tensor:
    """Return H' = sum_i pi_i (1 - pi_i) of the softmax policy: [B, A] -> [B].

    It is 1 - 1/N for a uniform policy over N actions, and 0 for a certain one. H' is the
    expectation of 1 - pi_a for a sampled action a. The derivative of log pi_a in its logit is
    1 - pi_a, so the policy's gradient shrinks as the policy grows certain.
    """
    probs = tf.nn.softmax(logits)
    return tf.reduce_sum(probs * (1.0 - probs), axis=-1)


def clipped_surrogate(
    log_probs: tf.Tensor,
    old_log_probs: tf.Tensor,
    advantages: tf.Tensor,
    clip_range: tf.Tensor | float,
) -> tf.Tensor:
    """Return -min(A r, A clip(r, 1 - eps, 1 + eps)), [B] (Schulman et al. 2017, eq. 7)."""
    check_vectors(log_probs, old_log_probs, advantages)
    ratios = tf.exp(log_probs - old_log_probs)
    clipped_ratios = tf.clip_by_value(ratios, 1.0 - clip_range, 1.0 + clip_range)
    return -tf.minimum(advantages * ratios, advantages * clipped_ratios)


def target_policy(
    old_probs: tf.Tensor, advantages: tf.Tensor, clip_range: tf.Tensor | float, kind: str
) -> tf.Tensor:
    """Return pi', up to which the clipped surrogate moves an action's probability, [B].

    "probability":  pi' = pi_old (1 + eps s), the textbook's clip
    "logit":        logit pi' = logit pi_old + 2 atanh(eps s), which is
                    pi' = pi_old (1 + eps s) / (1 + eps s (2 pi_old - 1))
    """
    check_vectors(old_probs, advantages)
    return old_probs * (
        1.0 + _TARGET_CHANGES[kind](1.0 - old_probs, clip_range * tf.sign(advantages))
    )


# Functions that return t - 1 from q = 1 - pi_old and e = eps s. Subtracting here would lose digits
# of a q near 0, so the caller computes q by expm1.
_TARGET_CHANGES: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "probability": lambda q, e: e + tf.zeros_like(q),
    # (1 + e) / (1 + e (2 pi_old - 1)) - 1 without cancellation.
    "logit": lambda q, e: 2.0 * e * q / (1.0 + e * (1.0 - 2.0 * q)),
}


def target_change(
    old_log_probs: tf.Tensor,
    advantages: tf.Tensor,
    clip_range: tf.Tensor | float,
    delta_target_policy: str = "probability",
) -> tf.Tensor:
    """Return t - 1, the signed distance of the target's ratio from the old policy, [B]."""
    q = -tf.math.expm1(old_log_probs)
    return _TARGET_CHANGES[delta_target_policy](q, clip_range * tf.sign(advantages))


class SurrogateRow(NamedTuple):
    """The two functions of a surrogate. ``change`` adjusts the target's t - 1, given A, to what
    the loss needs, such as a floor. ``loss`` takes r - 1, A, that t - 1, and the slope
    beyond the target. All are [B].
    """

    change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    loss: Callable[[tf.Tensor, tf.Tensor, tf.Tensor, float], tf.Tensor]


def _clipped(
    ratio_change: tf.Tensor, advantages: tf.Tensor, change: tf.Tensor, slope: float
) -> tf.Tensor:
    d = advantages * (change - ratio_change)
    # Beyond the target the loss is constant. With a slope it rises again.
    loss = tf.where(d >= 0.0, d, -slope * d)
    return loss - advantages * (1.0 + change)


def _floored(change: tf.Tensor) -> tf.Tensor:
    return tf.maximum(tf.abs(change), QUADRATIC_TARGET_FLOOR)


def _quadratic(
    ratio_change: tf.Tensor, advantages: tf.Tensor, change: tf.Tensor, _: float
) -> tf.Tensor:
    size = _floored(change)  # where A is 0, so is t - 1, and the division needs the floor
    weight = tf.abs(advantages)
    parabola = weight * tf.square(change - ratio_change) / (2.0 * size)
    return parabola - advantages - 0.5 * weight * size


SURROGATES: dict[SurrogateName, SurrogateRow] = {
    "clipped": SurrogateRow(lambda change, advantages: change, _clipped),
    "quadratic": SurrogateRow(
        lambda change, advantages: tf.sign(advantages) * _floored(change), _quadratic
    ),
}


def policy_loss(
    log_probs: tf.Tensor,
    old_log_probs: tf.Tensor,
    advantages: tf.Tensor,
    clip_range: tf.Tensor | float,
    name: SurrogateName = "clipped",
    delta_target_policy: str = "probability",
    beyond_target_slope: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the loss of one of the SURROGATES, and t - 1 of its target, both [B].

    Let d = A (t - r), which is positive before the target and negative beyond it. Every surrogate
    is a function of d plus a constant. At r = 1 its value is -A and its slope in r is -A:

      clipped     (d where d >= 0, a |d| beyond) - A t,  a = ``beyond_target_slope``
      quadratic   d^2 / (2 d_1) - A - d_1 / 2,           d_1 = A (t - 1)

    a = 0 with the probability target is ``clipped_surrogate``, which then computes the loss. a = 1
    is the peaked, absolute loss. Other a are the rollback of Wang, He and Tan 2020
    (arXiv:1903.07940). The quadratic with the probability target is Simple
    Policy Optimization (Xie et al. 2025, arXiv:2401.16025), with its target at least
    QUADRATIC_TARGET_FLOOR from the old policy.
    """
    check_vectors(log_probs, old_log_probs, advantages)
    row = SURROGATES[name]
    change = target_change(old_log_probs, advantages, clip_range, delta_target_policy)
    change = row.change(change, advantages)
    # The default is the paper's loss; SURROGATES compute the experimental ones.
    if SurrogateChoice(name, delta_target_policy, beyond_target_slope) == SurrogateChoice():
        return clipped_surrogate(log_probs, old_log_probs, advantages, clip_range), change
    ratio_change = tf.math.expm1(log_probs - old_log_probs)
    return row.loss(ratio_change, advantages, change, beyond_target_slope), change


def surrogate(
    log_probs: tf.Tensor,
    old_log_probs: tf.Tensor,
    advantages: tf.Tensor,
    clip_range: tf.Tensor | float,
    delta_target_policy: str = "probability",
    beyond_target_slope: float = 0.0,
    quadratic: bool = False,
) -> tf.Tensor:
    """Return the loss of ``policy_loss``, [B]; ``quadratic`` selects the surrogate."""
    chosen = SurrogateChoice(
        "quadratic" if quadratic else "clipped", delta_target_policy, beyond_target_slope
    )
    return policy_loss(log_probs, old_log_probs, advantages, clip_range, *chosen)[0]


def beyond_target(
    log_probs: tf.Tensor, old_log_probs: tf.Tensor, advantages: tf.Tensor, target_change: tf.Tensor
) -> tf.Tensor:
    """Return 1 where the ratio is beyond its target (the clipped loss is flat there), else 0, [B].

    ``target_change`` is t - 1 from ``policy_loss``.
    """
    d = advantages * (target_change - tf.math.expm1(log_probs - old_log_probs))
    return tf.cast(d < 0.0, log_probs.dtype)


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
        near = old_values + tf.clip_by_value(
            values - old_values, -value_clip_range, value_clip_range
        )
        errors = tf.maximum(errors, tf.square(near - returns))
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
    pseudo_entropy = tf.stop_gradient(pseudo_entropy)
    return _RESCALINGS[kind](pseudo_entropy, smoothed, decay, mean)


Rescaled = tuple[tf.Tensor, tf.Tensor]


def _smoothed(entropies: tf.Tensor, state: tf.Tensor, decay: float, mean: Mean) -> Rescaled:
    newest = mean(entropies)
    state = decay * state + tf.stack([newest, tf.ones_like(newest)])
    return tf.fill(tf.shape(entropies), state[0] / state[1]), state


_RESCALINGS: dict[str, Callable[[tf.Tensor, tf.Tensor, float, Mean], Rescaled]] = {
    "none": lambda entropies, state, decay, mean: (tf.ones_like(entropies), state),
    "per_state": lambda entropies, state, decay, mean: (entropies, state),
    "per_batch": lambda entropies, state, decay, mean: (
        tf.fill(tf.shape(entropies), mean(entropies)),
        state,
    ),
    "smoothed": _smoothed,
}


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


def clip_fraction(
    log_probs: tf.Tensor, old_log_probs: tf.Tensor, clip_range: tf.Tensor | float
) -> tf.Tensor:
    """Return 1 where the ratio differs from 1 by more than the clip range, else 0, [B]."""
    ratios = tf.exp(log_probs - old_log_probs)
    return tf.cast(tf.abs(ratios - 1.0) > clip_range, log_probs.dtype)
