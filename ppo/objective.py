"""PPO's objective for one minibatch, put together from its terms as the settings say."""

from dataclasses import dataclass

import tensorflow as tf

from ppo import losses
from ppo.params import Params

# Means over a minibatch, in this order; "grad_norm" is the update's own.
STATISTICS = (
    "loss",
    "policy_gradient_loss",
    "value_loss",
    "entropy_loss",
    "approx_kl",
    "clip_fraction",
    "pseudo_entropy",
    "value_scale",
    "target_distance",
    "beyond_target",
    "ratio",
)
# Largest values over a minibatch.
MAXIMA = ("approx_kl", "ratio")


@dataclass(frozen=True)
class Batch:
    """What the update sees of a rollout: [B], and nothing of games or time."""

    observations: tf.Tensor
    actions: tf.Tensor
    old_log_probs: tf.Tensor
    old_values: tf.Tensor
    advantages: tf.Tensor
    returns: tf.Tensor

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The fields, in order."""
        return tuple(vars(self).values())


@dataclass(frozen=True)
class Objective:
    """The loss of a minibatch in its two parts, what is measured on the way, and the value
    rescaling's memory afterwards.
    """

    policy_part: tf.Tensor
    value_part: tf.Tensor
    statistics: tf.Tensor
    maxima: tf.Tensor
    smoothed: tf.Tensor


def objective(
    logits: tf.Tensor,
    log_probs: tf.Tensor,
    values: tf.Tensor,
    batch: Batch,
    clip_range: tf.Tensor,
    smoothed: tf.Tensor,
    params: Params,
) -> Objective:
    """The objective of one minibatch, from its policy [B, A], the log-probabilities of its
    actions [B] and its values [B]; its loss is the sum of the two parts.

    policy part   mean(surrogate) - entropy_coef mean(entropy)
    value part    value_coef mean(scale x value loss)

    ``smoothed`` is the memory of the smoothed value rescaling, [2].
    """
    p = params
    advantages = losses.normalized(batch.advantages) if p.normalize_advantages else batch.advantages
    old_log_probs = batch.old_log_probs
    policy_loss = tf.reduce_mean(
        losses.surrogate(
            log_probs,
            old_log_probs,
            advantages,
            clip_range,
            p.delta_target_policy,
            p.slope_beyond_target,
            p.quadratic_policy_loss,
        )
    )
    entropy = tf.reduce_mean(losses.entropy(logits))
    pseudo_entropy = losses.pseudo_entropy(logits)
    scale, smoothed = losses.value_rescaling(
        p.value_rescaling, pseudo_entropy, smoothed, p.value_rescaling_decay
    )
    value_losses = losses.value_loss(values, batch.old_values, batch.returns, p.value_clip_range)
    policy_part = policy_loss - p.entropy_coef * entropy
    value_part = p.value_coef * tf.reduce_mean(scale * value_losses)
    kl = losses.approx_kl(log_probs, old_log_probs)
    ratios = tf.exp(log_probs - old_log_probs)
    step = losses.target_step(old_log_probs, advantages, clip_range, p.delta_target_policy)
    statistics = [
        policy_part + value_part,
        policy_loss,
        tf.reduce_mean(value_losses),
        -entropy,
        tf.reduce_mean(kl),
        tf.reduce_mean(losses.clip_fraction(log_probs, old_log_probs, clip_range)),
        tf.reduce_mean(pseudo_entropy),
        tf.reduce_mean(scale),
        tf.reduce_mean(tf.abs(step)),
        tf.reduce_mean(losses.beyond_target(log_probs, old_log_probs, advantages, step)),
        tf.reduce_mean(ratios),
    ]
    maxima = [tf.reduce_max(kl), tf.reduce_max(ratios)]
    return Objective(policy_part, value_part, tf.stack(statistics), tf.stack(maxima), smoothed)
