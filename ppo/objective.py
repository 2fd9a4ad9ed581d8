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


class Terms(NamedTuple):
    """The terms of the objective, without their coefficients, [B]."""

    advantages: tf.Tensor  # normalised if the settings say so
    policy_loss: tf.Tensor
    target_offset: tf.Tensor
    entropy: tf.Tensor
    pseudo_entropy: tf.Tensor
    value_loss: tf.Tensor
    value_scale: tf.Tensor


@dataclass(frozen=True)
class Objective:
    """The loss of a minibatch, its two parts, its terms, and the value rescaling's new state."""

    loss: tf.Tensor
    policy_part: tf.Tensor
    value_part: tf.Tensor
    terms: Terms
    smoothed: tf.Tensor


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

      policy part   mean(policy loss) - entropy_coef mean(entropy) + feature_drift_coef mean(drift)
      value part    value_coef mean(scale x value loss)

    ``drift`` is the result of ``losses.feature_drift``, [B], or None without it. ``smoothed`` is
    the state of the smoothed value rescaling, [2]. If several workers share a minibatch,
    ``moments`` are the mean and standard deviation of all its advantages, [2], and ``mean``
    averages over all of it. Raises ValueError, when traced, for tensors of other shapes.
    """
    p = params
    _check_shapes(logits, log_probs, values, batch)
    advantages = batch.advantages
    if p.normalize_advantages:
        advantages = losses.normalized(advantages, p.advantage_std_floor, moments)
    policy_loss, offset = losses.policy_loss(
        log_probs, batch.old_log_probs, advantages, clip_range, *p.surrogate
    )
    entropy, pseudo_entropy = losses.entropy(logits), losses.pseudo_entropy(logits)
    policy_part = tf.reduce_mean(policy_loss) - p.entropy_coef * tf.reduce_mean(entropy)
    if drift is not None:
        policy_part += p.feature_drift_coef * tf.reduce_mean(drift)
    value_loss = losses.value_loss(values, batch.old_values, batch.returns, p.value_clip_range)
    scale, smoothed = losses.value_rescaling(
        p.value_rescaling, pseudo_entropy, smoothed, p.value_rescaling_decay, mean
    )
    value_part = p.value_coef * tf.reduce_mean(scale * value_loss)
    terms = Terms(advantages, policy_loss, offset, entropy, pseudo_entropy, value_loss, scale)
    return Objective(policy_part + value_part, policy_part, value_part, terms, smoothed)


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
    share_above: tf.Tensor
    ratio_above: tf.Tensor
    share_below: tf.Tensor
    ratio_below: tf.Tensor
    surrogate_gain: tf.Tensor


class Maxima(NamedTuple):
    """Largest values over a minibatch, scalars."""

    approx_kl: tf.Tensor
    ratio: tf.Tensor


def statistics(
    log_probs: tf.Tensor, batch: Batch, clip_range: tf.Tensor, result: Objective
) -> tuple[Means, Maxima]:
    """Return the statistics of a minibatch, or of this worker's part of it, from its
    log-probabilities and the result of ``objective``.
    """
    terms, old_log_probs = result.terms, batch.old_log_probs
    kl = losses.approx_kl(log_probs, old_log_probs)
    ratios = tf.exp(log_probs - old_log_probs)
    above = tf.cast(ratios > 1.0 + clip_range, ratios.dtype)
    below = tf.cast(ratios < 1.0 - clip_range, ratios.dtype)
    beyond = losses.beyond_target(log_probs, old_log_probs, terms.advantages, terms.target_offset)
    samples = Means(
        loss=result.loss,
        policy_gradient_loss=terms.policy_loss,
        value_loss=terms.value_loss,
        entropy_loss=-terms.entropy,
        approx_kl=kl,
        clip_fraction=losses.clip_fraction(log_probs, old_log_probs, clip_range),
        pseudo_entropy=terms.pseudo_entropy,
        value_scale=terms.value_scale,
        target_distance=tf.abs(terms.target_offset),
        beyond_target=beyond,
        ratio=ratios,
        ratio_distance=tf.abs(ratios - 1.0),
        share_above=above,
        ratio_above=above * ratios,
        share_below=below,
        ratio_below=below * ratios,
        # At the old policy every surrogate is minus the mean advantage.
        surrogate_gain=-tf.reduce_mean(terms.policy_loss) - tf.reduce_mean(terms.advantages),
    )
    maxima = Maxima(approx_kl=tf.reduce_max(kl), ratio=tf.reduce_max(ratios))
    return Means(*map(tf.reduce_mean, samples)), maxima


def _check_shapes(logits: tf.Tensor, log_probs: tf.Tensor, values: tf.Tensor, batch: Batch) -> None:
    losses.check_vectors(log_probs, values, *batch[1:])
    if logits.shape.rank != 2 or not logits.shape[:1].is_compatible_with(log_probs.shape):
        raise ValueError(
            f"logits of shape {logits.shape} are not [B, A] beside log-probabilities "
            f"{log_probs.shape}"
        )
