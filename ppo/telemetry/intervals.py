"""Intervals of means by bootstrap (Efron 1979), resampled with a fixed seed."""

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 10_000  # of the scores of an evaluation


def bootstrap(values: np.ndarray, resamples: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 percent interval, low and high, of the mean of ``values`` [n, ...] over n."""
    rng, count = np.random.default_rng(0), len(values)
    shape = resamples // 100, count  # a hundredth at a time, to save memory
    means = [values[rng.integers(0, count, shape)].mean(axis=1) for _ in range(100)]
    return middle(np.concatenate(means))


def score_interval(scores: ArrayLike) -> tuple[float, float]:
    """Return the 95 percent interval of the mean of an evaluation's scores."""
    low, high = bootstrap(np.asarray(scores), RESAMPLES)
    return float(low), float(high)


def shown(values: np.ndarray) -> str:
    """Return a mean with its interval: "0.52 (0.40 to 0.61)". One value has no interval."""
    if len(values) < 2:
        return f"{values.mean():.2f}"
    low, high = bootstrap(values)
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


def middle(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds, low and high, of the middle 95 percent of ``samples`` [n, ...]."""
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    return low, high
