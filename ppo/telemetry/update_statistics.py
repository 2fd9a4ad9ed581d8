"""The statistics of an update: one row per minibatch, and the scalars computed from the rows."""

import math
from dataclasses import dataclass, replace

import numpy as np

from ppo.objective import Maxima, Means

# Each minibatch's statistics: means of its samples, two of its gradient, and largest values.
MEANS = (*Means._fields, "grad_norm", "grad_cut")
STATISTICS = (*MEANS, *(f"{name}_max" for name in Maxima._fields))
MAXIMA = slice(len(MEANS), None)
LOSS, KL, GAIN, NORM = map(STATISTICS.index, ("loss", "approx_kl", "surrogate_gain", "grad_norm"))


@dataclass(frozen=True)
class UpdateResult:
    """The result of an update.

    ``epochs`` has a table for each epoch that ran: a row of STATISTICS for each of its minibatches,
    in order. With several workers the means are over all of them, and the largest values are this
    worker's. ``moved`` has ``movement.layer_movement`` of each layer; ``rescaling`` is the state of
    the value rescaling. ``finite`` is False if a loss or a gradient was not finite, and the step
    was skipped. It is also False if a weight or a moment of the optimiser no longer is finite.
    """

    epochs: list[np.ndarray]
    moved: dict[str, np.ndarray]
    rescaling: np.ndarray
    finite: bool

    def by_epoch(self, name: str) -> list[np.ndarray]:
        """Return a statistic of each minibatch, epoch by epoch."""
        return [rows[:, STATISTICS.index(name)] for rows in self.epochs]

    def epoch_means(self, name: str) -> np.ndarray:
        """Return the mean of a statistic over the minibatches of each epoch."""
        return np.array([values.mean() for values in self.by_epoch(name)])

    def of(self, name: str) -> np.ndarray:
        """Return a statistic of each minibatch."""
        return np.concatenate(self.by_epoch(name))

    @property
    def maxima(self) -> np.ndarray:
        """The largest values of each minibatch, [minibatches, maxima]."""
        return np.concatenate(self.epochs)[:, MAXIMA]

    def with_maxima(self, maxima: np.ndarray) -> "UpdateResult":
        """Return a copy with other largest values."""
        whole = np.concatenate(self.epochs)
        whole[:, MAXIMA] = maxima
        ends = np.cumsum([len(rows) for rows in self.epochs[:-1]], dtype=int)
        return replace(self, epochs=np.split(whole, ends))

    def scalars(self) -> dict[str, float]:
        """Return the mean of each statistic over all minibatches of all epochs, as scalars."""
        means = {name: float(self.of(name).mean()) for name in MEANS}
        for side in ("above", "below"):  # a mean over the samples beyond the clip range
            share = means.pop(f"share_{side}")
            means[f"ratio_{side}"] = means[f"ratio_{side}"] / share if share else math.nan
        kls = self.of("approx_kl")
        scalars = means | {
            "approx_kl_max": float(self.epoch_means("approx_kl").max()),
            "surrogate_gain_last": float(self.epoch_means("surrogate_gain")[-1]),
            "ratio_max": float(self.of("ratio_max").max()),
            "minibatch_kl_max": float(kls.max()),
            "minibatch_kl_argmax": float(kls.argmax() + 1),
        }
        return {f"train/{name}": scalar for name, scalar in scalars.items()} | {
            f"layers/{name}_{layer}": float(value)
            for layer, moved in self.moved.items()
            for name, value in zip(("step", "step_max", "change"), moved, strict=True)
        }

    def epoch_scalars(self) -> dict[str, float]:
        """Return the approximate KL and ratio of each epoch."""
        scalars = {}
        for name in ("approx_kl", "ratio"):
            means, maxima = self.epoch_means(name), self.by_epoch(f"{name}_max")
            for epoch, (mean, values) in enumerate(zip(means, maxima, strict=True), 1):
                scalars[f"epochs/{name}_{epoch}"] = float(mean)
                scalars[f"epochs/{name}_max_{epoch}"] = float(values.max())
        return scalars
