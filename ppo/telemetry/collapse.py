"""Whether, when and how far a policy has collapsed: pure functions of its points per step.

Only ``count`` works on scores. Each score is a mean of 100 games and has little noise.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt
from numpy.typing import ArrayLike
from pydantic import ConfigDict, FiniteFloat

MEDIAN_OVER = 9  # readings of a running median
BOTTOM_OVER = 5  # readings of the median at the bottom, since a collapse may be short
# Readings used to estimate the noise. With 30, about one series in a hundred would look calm by
# chance.
NOISE_OVER = 60
TO_STD = 1.4826  # from a median absolute deviation, if numbers are normal
FEWEST = 10  # readings before an alarm is possible

# The limit of the log likelihood ratio. Without restarts, one healthy series in a million would
# reach it (Wald). With restarts, more do. A single reading contributes at most MOST_OF_A_READING.
LIMIT = math.log(1e6)
MOST_OF_A_READING = LIMIT / 5

# The test looks for a collapse by SMALLEST_FALL of the height. If that is less than
# CLEAR_SEPARATION standard deviations of a reading, it looks for a deeper collapse.
SMALLEST_FALL = 1 / 4
CLEAR_SEPARATION = 6.0


def noise(points: ArrayLike) -> float:
    """Estimate the standard deviation of a reading around a level that may drift: TO_STD / sqrt 2
    times the median absolute difference of successive readings; 0 for fewer than two.
    """
    steps = np.abs(np.diff(np.asarray(points, float)))
    return float(TO_STD * np.median(steps) / math.sqrt(2)) if steps.size else 0.0


def height_of(best: float, low: float) -> float:
    """Return how much a policy can lose: from the best level to the lowest, or to 0 if further."""
    return max(best - low, abs(best))


@dataclass(frozen=True)
class Watch:
    """A CUSUM test (Page 1954): a sequential probability ratio test (Wald 1945) that restarts at 0.
    Healthy: readings are normal around the best running median so far. Collapsed: they are normal
    around the level after the smallest collapse that the test looks for.

    A watch may begin with a policy's level, ``best``, and the ``low`` that it came from. It then
    tests from the first reading on. A checkpoint has the fields as they are.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    recent: tuple[FiniteFloat, ...] = ()
    best: Annotated[float, Lt(math.inf)] = -math.inf
    low: Annotated[float, Gt(-math.inf)] = math.inf
    evidence: Annotated[FiniteFloat, Ge(0)] = 0.0

    @property
    def knows_nothing(self) -> bool:
        """Whether the watch has no reading and no level."""
        return not self.recent and self.best == -math.inf

    @property
    def is_at_its_best(self) -> bool:
        """Whether the running median is at most a tenth of the height, or two standard deviations
        of the noise, below the best, whichever is more.
        """
        if len(self.recent) < MEDIAN_OVER:
            return False
        tolerance = max(self.height / 10, 2 * noise(self.recent))
        return self.level >= self.best - tolerance

    @property
    def height(self) -> float:
        """How much the policy can lose."""
        return height_of(self.best, self.low)

    @property
    def level(self) -> float:
        return float(np.median(self.recent[-MEDIAN_OVER:]))

    @property
    def alarmed(self) -> bool:
        return self.evidence >= LIMIT

    def after(self, points: float) -> "Watch":
        """Return the test after one more reading."""
        recent = (*self.recent, points)[-NOISE_OVER:]
        watch, sigma = replace(self, recent=recent), noise(recent)
        if len(recent) >= FEWEST:
            best, low = max(self.best, watch.level), min(self.low, watch.level)
            watch = replace(watch, best=best, low=low)
        elif self.best == -math.inf:
            return watch
        else:  # a few readings may look calm by chance
            sigma = max(sigma, SMALLEST_FALL * self.height / CLEAR_SEPARATION)
        ratio = _log_likelihood_ratio(watch.best - points, watch.height, sigma)
        return replace(watch, evidence=min(max(self.evidence + ratio, 0.0), LIMIT))

    def restarted(self) -> "Watch":
        """Return the test of a restored policy, whose best level is unchanged."""
        return replace(self, recent=(), evidence=0.0)

    def scaled(self, factor: float) -> "Watch":
        """Return the test with ``factor`` times the noise in its readings, at the same level."""
        if factor == 1 or not self.recent:
            return self
        level = self.level
        recent = tuple(level + factor * (points - level) for points in self.recent)
        return replace(self, recent=recent)


def _log_likelihood_ratio(distance: float, height: float, sigma: float) -> float:
    """Return the limited log likelihood ratio of a reading ``distance`` below the best level."""
    size = max(SMALLEST_FALL * height, CLEAR_SEPARATION * sigma)
    if size > height or height == 0:  # noise hides every collapse
        return -MOST_OF_A_READING
    unit = max(sigma, size / 100)  # divided by it first: the square of a large number is infinite
    ratio = (distance - size / 2) / unit * (size / unit)
    return min(max(ratio, -MOST_OF_A_READING), MOST_OF_A_READING)


@dataclass(frozen=True)
class Collapse:
    """A collapse in a series of readings."""

    onset: int  # index of the last reading before it
    bottom: int  # index of the lowest median of BOTTOM_OVER readings after it
    peak: float  # level before it
    bottom_level: float
    low: float  # lowest level before it

    @property
    def depth(self) -> float:
        """Share of the height that was lost."""
        return (self.peak - self.bottom_level) / height_of(self.peak, self.low)


def find(points: ArrayLike) -> Collapse | None:
    """Return the deepest collapse at which the test above would have given an alarm. After each
    collapse the test restarts where half of the loss is regained. The onset is the last reading
    before the alarm that is close to the peak: within a tenth of the collapse or two standard
    deviations, whichever is more.
    """
    series = np.asarray(points, float)
    ends = range(1, len(series) + 1)
    medians = np.array([np.median(series[max(0, end - BOTTOM_OVER) : end]) for end in ends])
    collapses, watch, end = [], Watch(), 0
    for index, reading in enumerate(series):
        if index < end:
            continue
        before, watch = watch, watch.after(reading)
        if watch.alarmed:
            end = _recovered(medians, index, before.best)
            collapses.append(_collapse(series, medians, slice(index, end), before))
            watch = watch.restarted()
    return max(collapses, key=lambda one: one.peak - one.bottom_level, default=None)


def count(scores: np.ndarray, fall: float) -> int:
    """Return how often a score fell more than ``fall`` points below the best since the previous
    collapse. A collapse ends where half of the loss is regained, as in ``find``.
    """
    collapses = begin = 0
    while True:
        best = np.maximum.accumulate(scores[begin:])
        fallen = np.flatnonzero(best - scores[begin:] > fall)
        if not len(fallen):
            return collapses
        collapses += 1
        begin = _recovered(scores, begin + int(fallen[0]), best[fallen[0]])


def _recovered(levels: np.ndarray, alarm: int, peak: float) -> int:
    """Return the index, after an alarm, at which half of the loss is regained, or the length."""
    after = levels[alarm + 1 :]
    lowest = np.minimum.accumulate(levels[alarm:])[1:]
    again = np.flatnonzero(after >= (lowest + peak) / 2)
    return alarm + 1 + int(again[0]) if len(again) else len(levels)


def _collapse(series: np.ndarray, medians: np.ndarray, readings: slice, before: Watch) -> Collapse:
    """Return the collapse whose readings from the alarm to its end are ``readings``."""
    alarm, peak = readings.start, before.best
    bottom = alarm + int(medians[readings].argmin())
    level = float(medians[bottom])
    tolerance = max((peak - level) / 10, 2 * noise(series[:alarm][-NOISE_OVER:]))
    high = np.flatnonzero(series[:alarm] >= peak - tolerance)
    onset = int(high[-1]) if len(high) else 0
    # The level that the policy came up from is a level before the collapse, not after it.
    low = min(before.low, float(medians[: onset + 1].min()))
    return Collapse(onset, bottom, float(peak), level, min(low, peak))
