"""The statistics of an update: each minibatch gives a row, and all rows give the scalars."""

import math
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ppo import losses, surrogates
from ppo.objective import Batch, Objective

# Means over a minibatch, and largest values of a sample; ``ppo.telemetry.scalars`` defines each.
Means = namedtuple(
    "Means",
    "loss policy_gradient_loss value_loss entropy_loss approx_kl clip_fraction pseudo_entropy "
    "value_scale target_distance beyond_target ratio ratio_distance share_above ratio_above "
    "share_below ratio_below surrogate_gain",
)
Maxima = namedtuple("Maxima", "sample_kl_max ratio_max")


def statistics(minibatch: Batch, clip_range: tf.Tensor, result: Objective) -> tuple[Means, Maxima]:
    """Return the statistics of a minibatch, or of this worker's part, from its objective."""
    terms, ratios = result.terms, result.terms.ratios
    kl = losses.approx_kl(terms.log_probs, minibatch.old_log_probs)
    above = tf.cast(ratios > 1.0 + clip_range, ratios.dtype)
    below = tf.cast(ratios < 1.0 - clip_range, ratios.dtype)
    beyond = surrogates.beyond_target(
        terms.log_probs, minibatch.old_log_probs, terms.advantages, terms.target_change
    )
    samples = Means(
        loss=result.loss,
        policy_gradient_loss=terms.policy_loss,
        value_loss=terms.value_loss,
        entropy_loss=-terms.entropy,
        approx_kl=kl,
        clip_fraction=losses.clip_fraction(ratios, clip_range),
        pseudo_entropy=terms.pseudo_entropy,
        value_scale=terms.value_scale,
        target_distance=tf.abs(terms.target_change),
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
    maxima = Maxima(sample_kl_max=tf.reduce_max(kl), ratio_max=tf.reduce_max(ratios))
    return Means(*map(tf.reduce_mean, samples)), maxima


# Each minibatch's statistics: means of its samples, two of its gradient, and largest values.
MEANS = (*Means._fields, "grad_norm", "grad_cut")
STATISTICS = (*MEANS, *Maxima._fields)
LOSS, KL, GAIN, NORM = map(STATISTICS.index, ("loss", "approx_kl", "surrogate_gain", "grad_norm"))


@dataclass(frozen=True)
class UpdateResult:
    """The result of an update.

    ``epochs`` has a table for each epoch that ran: a row of STATISTICS for each of its minibatches,
    in order. With several workers the means are over all of them, and the largest values are this
    worker's. ``movement`` has ``movement.layer_movement`` of each layer, [3]. ``rescaling_state``
    is the new state of ``losses.value_rescaling``, [2]. ``finite`` is False if a loss, a gradient,
    a weight or a moment of the optimiser is not finite. A step whose loss or gradient is not finite
    was skipped.
    """

    epochs: list[np.ndarray]
    movement: dict[str, np.ndarray]
    rescaling_state: np.ndarray
    finite: bool

    def by_epoch(self, name: str) -> list[np.ndarray]:
        """Return a statistic of each minibatch, epoch by epoch."""
        return [rows[:, STATISTICS.index(name)] for rows in self.epochs]

    def epoch_means(self, name: str) -> np.ndarray:
        """Return the mean of a statistic over the minibatches of each epoch."""
        return np.array([values.mean() for values in self.by_epoch(name)])

    def by_minibatch(self, name: str) -> np.ndarray:
        return np.concatenate(self.by_epoch(name))

    def scalars(self) -> dict[str, float]:
        """Return means and largest values over all minibatches of all epochs, and how far each
        layer moved, as scalars.
        """
        means = {name: float(self.by_minibatch(name).mean()) for name in MEANS}
        for side in ("above", "below"):  # a mean over the samples beyond the clip range
            share = means.pop(f"share_{side}")
            means[f"ratio_{side}"] = means[f"ratio_{side}"] / share if share else math.nan
        kls = self.by_minibatch("approx_kl")
        scalars = means | {
            "approx_kl_max": float(self.epoch_means("approx_kl").max()),
            "surrogate_gain_last": float(self.epoch_means("surrogate_gain")[-1]),
            "ratio_max": float(self.by_minibatch("ratio_max").max()),
            "minibatch_kl_max": float(kls.max()),
            "minibatch_kl_argmax": float(kls.argmax() + 1),
        }
        # Such as train/approx_kl, and layers/step_max_conv1.
        return {f"train/{name}": scalar for name, scalar in scalars.items()} | {
            f"layers/{name}_{layer}": float(value)
            for layer, movement in self.movement.items()
            for name, value in zip(("step", "step_max", "change"), movement, strict=True)
        }

    def epoch_scalars(self) -> dict[str, float]:
        """Return the approximate KL and ratio of each epoch."""
        scalars = {}  # such as epochs/approx_kl_1 and epochs/ratio_max_4
        for name, maximum in (("approx_kl", "sample_kl_max"), ("ratio", "ratio_max")):
            means, maxima = self.epoch_means(name), self.by_epoch(maximum)
            for epoch, (mean, values) in enumerate(zip(means, maxima, strict=True), 1):
                scalars[f"epochs/{name}_{epoch}"] = float(mean)
                scalars[f"epochs/{name}_max_{epoch}"] = float(values.max())
        return scalars
