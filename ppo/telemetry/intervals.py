"""95 percent intervals of means: Student's t for few values, the bootstrap for many."""

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 10_000  # of the scores of an evaluation
FEWEST = 10  # values that a bootstrap needs; with fewer its interval is too narrow
# Student's t of 1 to 8 degrees of freedom, which is exceeded with a probability of 2.5 percent.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306)


def of_mean(values: np.ndarray, resamples: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 percent interval, low and high, of the mean of ``values`` [n, ...] over n.

    Two to nine values have Student's t interval. More are resampled with a fixed seed, for a
    percentile bootstrap (Efron 1979). One value has no interval: low and high are the value.
    """
    count = len(values)
    if count == 1:
        return values[0], values[0]
    if count < FEWEST:
        mean = values.mean(axis=0)
        distance = np.hypot.reduce(values - mean)  # the squares of large scores are not finite
        half = STUDENT[count - 2] * distance / np.sqrt(count * (count - 1))
        return mean - half, mean + half
    rng = np.random.default_rng(0)
    shape = resamples // 100, count  # a hundredth at a time, to save memory
    means = [values[rng.integers(0, count, shape)].mean(axis=1) for _ in range(100)]
    return middle(np.concatenate(means))


def score_interval(scores: ArrayLike) -> tuple[float, float]:
    """Return the 95 percent interval of the mean of an evaluation's scores."""
    low, high = of_mean(np.asarray(scores), RESAMPLES)
    return float(low), float(high)


def shown(values: np.ndarray) -> str:
    """Return a mean with its interval: "0.52 (0.40 to 0.61)". Equal values have no interval."""
    if values.min() == values.max():
        return f"{values.mean():.2f}"
    low, high = of_mean(values)
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"


def middle(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds, low and high, of the middle 95 percent of ``samples`` [n, ...]."""
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    return low, high
