"""Whether, when and how far a policy has fallen: pure functions of the points per step of its
rollouts, or of what stands for them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

MEDIAN_OVER = 9  # readings of a running median
# Readings that the noise is measured on: of 30, one row in some hundred would look calm by chance.
NOISE_OVER = 60
FEWEST = 10  # readings before anything is said

# The sequential test's limit: its log likelihood ratio when one of a million healthy runs has got
# there. No single reading counts for more than a share of it.
LIMIT = math.log(1e6)
MOST_OF_A_READING = LIMIT / 5

# A fall is told from noise only if half of it is this many standard deviations of a reading.
LEAST_SEPARATION = 3.0


def noise(points: ArrayLike) -> float:
    """Standard deviation of a reading around a level that may drift: 1.4826 times the median of
    the absolute differences of successive readings, divided by sqrt 2. 0 for fewer than two.
    """
    steps = np.abs(np.diff(np.asarray(points, float)))
    return float(1.4826 * np.median(steps) / math.sqrt(2)) if steps.size else 0.0


def half_of(best: float, low: float) -> float:
    """Half of the way from the best level down to the lowest, or to none if that is further."""
    return max(best - low, abs(best)) / 2


@dataclass(frozen=True)
class Watch:
    """A sequential probability ratio test (Wald 1945), restarted at 0 (Page 1954), of two
    hypotheses: a reading is normal around the best running median so far, or around the level
    half of the way down from there.
    """

    recent: tuple[float, ...] = ()
    best: float = -math.inf
    low: float = math.inf
    evidence: float = 0.0

    @property
    def alarmed(self) -> bool:
        """Whether the policy has fallen."""
        return self.evidence >= LIMIT

    def after(self, points: float) -> "Watch":
        """The test after one more reading."""
        recent = (*self.recent, points)[-NOISE_OVER:]
        if len(recent) < FEWEST:
            return replace(self, recent=recent)
        median = float(np.median(recent[-MEDIAN_OVER:]))
        best, low = max(self.best, median), min(self.low, median)
        half, sigma = half_of(best, low), noise(recent)
        evidence = self.evidence + _log_likelihood_ratio(points, best, half, sigma)
        return Watch(recent, best, low, min(max(evidence, 0.0), LIMIT))

    def restarted(self) -> "Watch":
        """The test of a policy that was put back: what was best stays so."""
        return replace(self, recent=(), evidence=0.0)


def _log_likelihood_ratio(points: float, best: float, half: float, sigma: float) -> float:
    """Of the level half way down against the best one, limited either way; where they cannot be
    told apart, as much as a reading may take away.
    """
    if half <= LEAST_SEPARATION * sigma or half == 0:
        return -MOST_OF_A_READING
    short = best - half / 2 - points
    ratio = short * half / max(sigma, half / 100) ** 2
    return min(max(ratio, -MOST_OF_A_READING), MOST_OF_A_READING)


@dataclass(frozen=True)
class Fall:
    """A fall in a series of readings: the index of the last one before it, the index of the
    lowest running median after it, the levels there, and the lowest level before.
    """

    onset: int
    bottom: int
    peak: float
    bottom_level: float
    low: float

    @property
    def depth(self) -> float:
        """Share of the way from the peak down to the lowest level, or to none if that is further;
        above 1 if it fell below.
        """
        return (self.peak - self.bottom_level) / (2 * half_of(self.peak, self.low))


def find(points: ArrayLike) -> Fall | None:
    """The deepest fall of a series of which the test above would have given an alarm, restarted
    behind each fall that was recovered by half. Its onset is the last reading, before the alarm,
    that reaches the peak but for a tenth of the fall or two standard deviations.
    """
    found = _falls(np.asarray(points, float))
    return max(found, key=lambda fall: fall.peak - fall.bottom_level, default=None)


def _falls(series: np.ndarray) -> Iterator[Fall]:
    medians = np.array([np.median(series[max(0, i - 4) : i + 1]) for i in range(len(series))])
    watch, end = Watch(), 0
    for index, reading in enumerate(series):
        if index < end:
            continue
        before, watch = watch, watch.after(reading)
        if watch.alarmed:
            end = _recovered(medians, index, before.best)
            yield _fall(series, medians, slice(index, end), before)
            watch = watch.restarted()


def _recovered(medians: np.ndarray, alarm: int, peak: float) -> int:
    """The index, after an alarm, at which half of what was lost is there again; the length of the
    series if that never comes.
    """
    after = medians[alarm + 1 :]
    lowest = np.minimum.accumulate(medians[alarm:])[1:]
    again = np.flatnonzero(after >= (lowest + peak) / 2)
    return alarm + 1 + int(again[0]) if len(again) else len(medians)


def _fall(series: np.ndarray, medians: np.ndarray, fallen: slice, before: Watch) -> Fall:
    """The fall of which ``fallen`` goes from the alarm to its end."""
    alarm, peak = fallen.start, before.best
    bottom = alarm + int(medians[fallen].argmin())
    level = float(medians[bottom])
    tolerance = max((peak - level) / 10, 2 * noise(series[:alarm][-NOISE_OVER:]))
    high = np.flatnonzero(series[:alarm] >= peak - tolerance)
    onset = int(high[-1]) if len(high) else 0
    # What the policy had come up from is what it had before, not after.
    low = min(before.low, float(medians[: onset + 1].min()))
    return Fall(onset, bottom, float(peak), level, min(low, peak))
