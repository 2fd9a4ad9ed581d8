"""PPO's objective for one minibatch, assembled from its terms according to the settings."""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from ppo import losses
from ppo.settings import Params


class Batch(NamedTuple):
    """A rollout as the update sees it: [B], without an env or time axis. The objective does not use
    the observations, which may be ().
    """

    observations: tf.Tensor | tuple[()]
    actions: tf.Tensor
    old_log_probs: tf.Tensor
    old_values: tf.Tensor
    advantages: tf.Tensor
    returns: tf.Tensor

    def rows(self, indices: tf.Tensor) -> "Batch":
        """Return a minibatch: some of the samples."""
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, indices), self)


class Means(NamedTuple):
    """Means over a minibatch, scalars; ``ppo.telemetry.scalars`` defines each."""

    loss: tf.Tensor
    policy_gradient_loss: tf.Tensor
    value_loss: tf.Tensor
    entropy_loss: tf.Tensor
    approx_kl: tf.Tensor
    clip_fraction: tf.Tensor
    pseudo_entropy: tf.Tensor
    value_scale: tf.Tensor
    target_distance: tf.Tensor
    beyond_target: tf.Tensor
    ratio: tf.Tensor
    ratio_distance: tf.Tensor
    above: tf.Tensor
    ratio_above: tf.Tensor
    below: tf.Tensor
    ratio_below: tf.Tensor
    surrogate_gain: tf.Tensor


class Maxima(NamedTuple):
    """Largest values over a minibatch, scalars."""

    approx_kl: tf.Tensor
    ratio: tf.Tensor


@dataclass(frozen=True)
class Objective:
    """The parts of a minibatch's loss, its statistics, and the value rescaling's new state."""

    policy_part: tf.Tensor
    value_part: tf.Tensor
    means: Means
    maxima: Maxima
    smoothed: tf.Tensor

    @property
    def loss(self) -> tf.Tensor:
        """The total loss."""
        return self.means.loss


def objective(
    logits: tf.Tensor,
    log_probs: tf.Tensor,
    values: tf.Tensor,
    batch: Batch,
    clip_range: tf.Tensor,
    smoothed: tf.Tensor,
    params: Params,
    drift: tf.Tensor | None = None,
    moments: tf.Tensor | None = None,
    mean: losses.Mean = tf.reduce_mean,
) -> Objective:
    """Return the objective of one minibatch from its policy [B, A], the log-probabilities of its
    actions [B] and its values [B]. The loss is the sum of the parts:

      policy part   mean(surrogate) - entropy_coef mean(entropy) + feature_drift_coef mean(drift)
      value part    value_coef mean(scale x value loss)

    ``drift`` is the result of ``losses.feature_drift``, [B], or None without it. ``smoothed`` is
    the state of the smoothed value rescaling, [2]. If several workers share a minibatch,
    ``moments`` are the mean and standard deviation of all its advantages, [2], and ``mean``
    averages over all of it. The means in the result cover only this part. Raises ValueError, when
    traced, for tensors of other shapes.
    """
    p = params
    _check_shapes(logits, log_probs, values, batch)
    advantages = batch.advantages
    if p.normalize_advantages:
        advantages = losses.normalized(advantages, p.advantage_std_floor, moments)
    old_log_probs = batch.old_log_probs
    policy_losses, offset = losses.policy_loss(
        log_probs, old_log_probs, advantages, clip_range, *p.surrogate
    )
    policy_loss = tf.reduce_mean(policy_losses)
    entropy = tf.reduce_mean(losses.entropy(logits))
    pseudo_entropy = losses.pseudo_entropy(logits)
    scale, smoothed = losses.value_rescaling(
        p.value_rescaling, pseudo_entropy, smoothed, p.value_rescaling_decay, mean
    )
    value_losses = losses.value_loss(values, batch.old_values, batch.returns, p.value_clip_range)
    policy_part = policy_loss - p.entropy_coef * entropy
    if drift is not None:
        policy_part += p.feature_drift_coef * tf.reduce_mean(drift)
    value_part = p.value_coef * tf.reduce_mean(scale * value_losses)
    kl = losses.approx_kl(log_probs, old_log_probs)
    ratios = tf.exp(log_probs - old_log_probs)
    beyond = losses.beyond_target(log_probs, old_log_probs, advantages, offset)
    above = tf.cast(ratios > 1.0 + clip_range, ratios.dtype)
    below = tf.cast(ratios < 1.0 - clip_range, ratios.dtype)
    means = Means(
        loss=policy_part + value_part,
        policy_gradient_loss=policy_loss,
        value_loss=tf.reduce_mean(value_losses),
        entropy_loss=-entropy,
        approx_kl=tf.reduce_mean(kl),
        clip_fraction=tf.reduce_mean(losses.clip_fraction(log_probs, old_log_probs, clip_range)),
        pseudo_entropy=tf.reduce_mean(pseudo_entropy),
        value_scale=tf.reduce_mean(scale),
        target_distance=tf.reduce_mean(tf.abs(offset)),
        beyond_target=tf.reduce_mean(beyond),
        ratio=tf.reduce_mean(ratios),
        ratio_distance=tf.reduce_mean(tf.abs(ratios - 1.0)),
        above=tf.reduce_mean(above),
        ratio_above=tf.reduce_mean(above * ratios),
        below=tf.reduce_mean(below),
        ratio_below=tf.reduce_mean(below * ratios),
        # At the old policy every surrogate is minus the mean advantage.
        surrogate_gain=-policy_loss - tf.reduce_mean(advantages),
    )
    maxima = Maxima(approx_kl=tf.reduce_max(kl), ratio=tf.reduce_max(ratios))
    return Objective(policy_part, value_part, means, maxima, smoothed)


def _check_shapes(logits: tf.Tensor, log_probs: tf.Tensor, values: tf.Tensor, batch: Batch) -> None:
    losses.check_vectors(log_probs, values, *batch[1:])
    if logits.shape.rank != 2 or not logits.shape[:1].is_compatible_with(log_probs.shape):
        raise ValueError(
            f"logits of shape {logits.shape} are not [B, A] beside log-probabilities "
            f"{log_probs.shape}"
        )
