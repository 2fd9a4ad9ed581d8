"""PPO's objective for one minibatch, assembled from its terms according to the settings."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ppo import losses, surrogates
from ppo.nn.shapes import check_vectors
from ppo.settings import Params
from ppo.system.arrays import is_shareable


def _as_tensor(array: np.ndarray) -> tf.Tensor:
    if is_shareable(array):
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


class Batch(NamedTuple):
    """The samples of a rollout (B = T N) or of a minibatch (B = M), without env and time axes. The
    objective does not use the observations.
    """

    observations: tf.Tensor
    actions: tf.Tensor
    old_log_probs: tf.Tensor
    old_values: tf.Tensor
    advantages: tf.Tensor
    returns: tf.Tensor

    @staticmethod
    def from_rollout(*arrays: np.ndarray) -> "Batch":
        """Flatten [T, N, ...] arrays into B = T N samples, which may share the arrays' memory."""
        return Batch(*(_as_tensor(array.reshape(-1, *array.shape[2:])) for array in arrays))

    def rows(self, indices: tf.Tensor) -> "Batch":
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, indices), self)


class Terms(NamedTuple):
    """The terms of the objective, without coefficients, and what they follow from, [B]."""

    log_probs: tf.Tensor
    ratios: tf.Tensor
    advantages: tf.Tensor  # normalised if the settings say so
    policy_loss: tf.Tensor
    target_change: tf.Tensor
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
    rescaling_state: tf.Tensor


def objective(
    logits: tf.Tensor,
    values: tf.Tensor,
    batch: Batch,
    *,
    clip_range: tf.Tensor,
    rescaling_state: tf.Tensor,
    params: Params,
    drift: tf.Tensor | None = None,
    moments: tf.Tensor | None = None,
    mean: losses.Mean = tf.reduce_mean,
) -> Objective:
    """Return the objective of one minibatch from its logits [B, A] and its values [B]. The loss is
    the sum of the parts:

      policy part   mean(policy loss) - entropy_coef mean(entropy) + feature_drift_coef mean(drift)
      value part    value_coef mean(scale x value loss)

    ``drift`` is the result of ``losses.feature_drift``, [B], or None. ``rescaling_state`` is the
    state of ``losses.value_rescaling``, [2]. With several workers, ``moments`` and ``mean`` come
    from ``Updater``. Raises ValueError, when traced, for tensors of other shapes.
    """
    _check_shapes(logits, values, batch)
    log_probs = losses.log_prob(logits, batch.actions)
    ratios = tf.exp(log_probs - batch.old_log_probs)
    advantages = batch.advantages
    if params.normalize_advantages:
        advantages = losses.normalized(advantages, params.advantage_std_floor, moments)
    policy_loss, change = _surrogate(log_probs, ratios, batch, advantages, clip_range, params)
    entropy, pseudo_entropy = losses.entropy(logits), losses.pseudo_entropy(logits)
    policy_part = tf.reduce_mean(policy_loss) - params.entropy_coef * tf.reduce_mean(entropy)
    if drift is not None:
        policy_part += params.feature_drift_coef * tf.reduce_mean(drift)
    value_loss = losses.value_loss(values, batch.old_values, batch.returns, params.value_clip_range)
    scale, rescaling_state = losses.value_rescaling(
        params.value_rescaling, pseudo_entropy, rescaling_state, params.value_rescaling_decay, mean
    )
    value_part = params.value_coef * tf.reduce_mean(scale * value_loss)
    terms = Terms(
        log_probs=log_probs,
        ratios=ratios,
        advantages=advantages,
        policy_loss=policy_loss,
        target_change=change,
        entropy=entropy,
        pseudo_entropy=pseudo_entropy,
        value_loss=value_loss,
        value_scale=scale,
    )
    return Objective(policy_part + value_part, policy_part, value_part, terms, rescaling_state)


def _surrogate(
    log_probs: tf.Tensor,
    ratios: tf.Tensor,
    batch: Batch,
    advantages: tf.Tensor,
    clip_range: tf.Tensor,
    params: Params,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the clipped surrogate, or the surrogate that the settings choose in its place, and
    t - 1 of its target (``ppo.surrogates``), both [B].
    """
    old_log_probs = batch.old_log_probs
    if params.uses_clipped_surrogate:
        target_change = surrogates.target_change(old_log_probs, advantages, clip_range)
        return losses.clipped_surrogate(ratios, advantages, clip_range), target_change
    return surrogates.policy_loss(
        log_probs, old_log_probs, advantages, clip_range, *params.surrogate_choice
    )


def _check_shapes(logits: tf.Tensor, values: tf.Tensor, batch: Batch) -> None:
    check_vectors(values, *batch[1:])
    if logits.shape.rank != 2 or not logits.shape[:1].is_compatible_with(values.shape):
        raise ValueError(f"logits {logits.shape} are not [B, A] beside values {values.shape}")
