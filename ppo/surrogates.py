"""The experimental surrogates, which replace PPO's ``losses.clipped_surrogate``, [B] in and out.

``ppo.losses`` defines A, r and eps. pi' is the target: the action's probability at which the loss
stops falling. t = pi' / pi_old is the target's ratio, and s is the sign of A. PPO's own target is
pi' = pi_old (1 + eps s).
"""

from collections.abc import Callable

import tensorflow as tf

from ppo.nn.shapes import check_vectors
from ppo.settings.fields import SurrogateName

# The quadratic surrogate's curvature, |A| / |t - 1|, grows without bound as t approaches 1. With
# the logit target, t approaches 1 when pi_old does. This is the lower bound of |t - 1|.
QUADRATIC_TARGET_FLOOR = 1e-3


def target_policy(
    old_probs: tf.Tensor, advantages: tf.Tensor, clip_range: tf.Tensor | float, kind: str
) -> tf.Tensor:
    """Return pi', up to which a surrogate moves an action's probability, [B].

    "probability":  pi' = pi_old (1 + eps s), as in PPO
    "logit":        logit pi' = logit pi_old + 2 atanh(eps s), which is
                    pi' = pi_old (1 + eps s) / (1 + eps s (2 pi_old - 1))
    """
    check_vectors(old_probs, advantages)
    return old_probs * (
        1.0 + _TARGET_CHANGES[kind](1.0 - old_probs, clip_range * tf.sign(advantages))
    )


# Functions that return t - 1 from q = 1 - pi_old and e = eps s. Subtracting here would lose digits
# of a q near 0, so ``target_change`` computes q by expm1.
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


Loss = tuple[tf.Tensor, tf.Tensor]


def _linear(
    ratio_change: tf.Tensor, advantages: tf.Tensor, change: tf.Tensor, slope: float
) -> Loss:
    d = advantages * (change - ratio_change)
    # Beyond the target the loss is constant. With a slope it rises again.
    loss = tf.where(d >= 0.0, d, -slope * d)
    return loss - advantages * (1.0 + change), change


def _quadratic(ratio_change: tf.Tensor, advantages: tf.Tensor, change: tf.Tensor, _: float) -> Loss:
    # Where A is 0, so is t - 1, and the division needs the floor.
    size = tf.maximum(tf.abs(change), QUADRATIC_TARGET_FLOOR)
    change = tf.sign(advantages) * size
    weight = tf.abs(advantages)
    parabola = weight * tf.square(change - ratio_change) / (2.0 * size)
    return parabola - advantages - 0.5 * weight * size, change


# Functions of r - 1, A, t - 1, all [B], and the slope beyond the target. They return the loss, and
# the t - 1 that it uses.
SURROGATES: dict[SurrogateName, Callable[[tf.Tensor, tf.Tensor, tf.Tensor, float], Loss]] = {
    "linear": _linear,
    "quadratic": _quadratic,
}


def policy_loss(
    log_probs: tf.Tensor,
    old_log_probs: tf.Tensor,
    advantages: tf.Tensor,
    clip_range: tf.Tensor | float,
    name: SurrogateName = "linear",
    delta_target_policy: str = "probability",
    beyond_target_slope: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the loss of one of the SURROGATES, and t - 1 of its target, both [B].

    Let d = A (t - r), which is positive before the target and negative beyond it. Every surrogate
    is a function of d plus a constant. At r = 1 its value is -A and its slope in r is -A:

      linear      (d where d >= 0, a |d| beyond) - A t,  a = ``beyond_target_slope``
      quadratic   d^2 / (2 d_1) - A - d_1 / 2,           d_1 = A (t - 1)

    a = 0 with the probability target equals ``losses.clipped_surrogate``, except for rounding,
    and for an r that overflows, where it is NaN. a = 1 is the peaked, absolute loss. Other a are
    the rollback of Wang, He and Tan 2020 (arXiv:1903.07940). The quadratic with the probability
    target is Simple Policy Optimization (Xie et al. 2025, arXiv:2401.16025), with its target at
    least QUADRATIC_TARGET_FLOOR from the old policy.
    """
    check_vectors(log_probs, old_log_probs, advantages)
    change = target_change(old_log_probs, advantages, clip_range, delta_target_policy)
    ratio_change = tf.math.expm1(log_probs - old_log_probs)
    return SURROGATES[name](ratio_change, advantages, change, beyond_target_slope)


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
    name: SurrogateName = "quadratic" if quadratic else "linear"
    choice = name, delta_target_policy, beyond_target_slope
    return policy_loss(log_probs, old_log_probs, advantages, clip_range, *choice)[0]


def beyond_target(
    log_probs: tf.Tensor, old_log_probs: tf.Tensor, advantages: tf.Tensor, target_change: tf.Tensor
) -> tf.Tensor:
    """Return 1 where the ratio is beyond its target (the clipped loss is flat there), else 0, [B].

    ``target_change`` is t - 1 from ``policy_loss``.
    """
    d = advantages * (target_change - tf.math.expm1(log_probs - old_log_probs))
    return tf.cast(d < 0.0, log_probs.dtype)
