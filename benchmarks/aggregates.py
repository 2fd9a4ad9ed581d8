"""One number for many games, with its bootstrap interval.

Mean, median and interquartile mean are those of R. Agarwal et al., "Deep reinforcement learning at
the edge of the statistical precipice" (2021, arXiv:2108.13264). Their library, rliable, wants
the same number of runs of each game. Here the number may differ; games have the same weight.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ppo.telemetry.intervals import RESAMPLES, middle


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 percent interval; None where a game has a single run."""

    value: float
    interval: tuple[float, float] | None


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """The mean of all runs of all games without the lowest and the highest quarter, each rounded
    down to whole runs; scores are [..., runs, games]."""
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), -1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(-1)


# Of scores [..., runs, games].
AGGREGATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda scores: scores.mean((-2, -1)),
    "median": lambda scores: np.median(scores.mean(-2), -1),
    "interquartile mean": interquartile_mean,
}


def aggregates(games: Sequence[Sequence[float]]) -> dict[str, Estimate]:
    """Each aggregate of the scores of each game's runs, with its stratified bootstrap interval: the
    runs of each game are resampled, the games stay; none where a game has a single run."""
    rng = np.random.default_rng(0)
    scores = _matrix([np.array(runs, float) for runs in games])
    resampled = _matrix([rng.choice(runs, (RESAMPLES, len(runs))) for runs in games])
    varied = all(len(runs) > 1 for runs in games)
    return {
        name: Estimate(
            float(aggregate(scores)), _interval(aggregate(resampled)) if varied else None
        )
        for name, aggregate in AGGREGATES.items()
    }


def _matrix(games: Sequence[np.ndarray]) -> np.ndarray:
    """Return [..., runs, games]. The runs of each game, [..., its runs], are repeated to the same
    number, so games have the same weight.
    """
    most = math.lcm(*(runs.shape[-1] for runs in games))
    return np.stack([np.repeat(runs, most // runs.shape[-1], -1) for runs in games], -1)


def _interval(means: np.ndarray) -> tuple[float, float]:
    low, high = middle(means)
    return float(low), float(high)
