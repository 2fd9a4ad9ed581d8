"""Whether, when and how far a policy has fallen: pure functions of the points per step of its
rollouts, or of what stands for them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt
from numpy.typing import ArrayLike
from pydantic import ConfigDict, FiniteFloat

MEDIAN_OVER = 9  # readings of a running median
# Readings that the noise is measured on: of 30, one row in some hundred would look calm by chance.
NOISE_OVER = 60
FEWEST = 10  # readings before anything is said

# The sequential test's limit: its log likelihood ratio when one of a million healthy runs has got
# there. No single reading counts for more than a share of it.
LIMIT = math.log(1e6)
MOST_OF_A_READING = LIMIT / 5

# The test looks for a fall by this share of the height. Where that is less than CLEAR_SEPARATION
# standard deviations of a reading, it looks for a deeper one, of all the height at most.
SMALLEST_FALL = 1 / 4
CLEAR_SEPARATION = 6.0


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
    after the smallest fall that it looks for.

    A watch may begin with the level of a policy, ``best``, and the ``low`` that it came from. It
    then tests from the first reading on. A checkpoint has the fields as they are.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    recent: tuple[FiniteFloat, ...] = ()
    best: Annotated[float, Lt(math.inf)] = -math.inf
    low: Annotated[float, Gt(-math.inf)] = math.inf
    evidence: Annotated[FiniteFloat, Ge(0)] = 0.0

    @property
    def knows_nothing(self) -> bool:
        """Whether it has no reading and no level."""
        return not self.recent and self.best == -math.inf

    @property
    def is_at_its_best(self) -> bool:
        """Whether the running median is at the best one, within a tenth of the height or two
        standard deviations.
        """
        if len(self.recent) < MEDIAN_OVER:
            return False
        tolerance = max(self.height / 10, 2 * noise(self.recent))
        return self.level >= self.best - tolerance

    @property
    def height(self) -> float:
        """How far the policy can fall: from the best level to the lowest, or to none."""
        return 2 * half_of(self.best, self.low)

    @property
    def level(self) -> float:
        """The running median."""
        return float(np.median(self.recent[-MEDIAN_OVER:]))

    @property
    def alarmed(self) -> bool:
        """Whether the policy has fallen."""
        return self.evidence >= LIMIT

    def after(self, points: float) -> "Watch":
        """The test after one more reading."""
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
        """The test of a policy that was put back: what was best stays so."""
        return replace(self, recent=(), evidence=0.0)

    def scaled(self, factor: float) -> "Watch":
        """The test with readings of which the noise is ``factor`` times as large, at one level."""
        if factor == 1 or not self.recent:
            return self
        level = self.level
        recent = tuple(level + factor * (points - level) for points in self.recent)
        return replace(self, recent=recent)


def _log_likelihood_ratio(short: float, height: float, sigma: float) -> float:
    """Of a reading that is ``short`` of the best level, limited either way; where noise hides every
    fall, as much as a reading may take away.
    """
    size = max(SMALLEST_FALL * height, CLEAR_SEPARATION * sigma)
    if size > height or height == 0:
        return -MOST_OF_A_READING
    unit = max(sigma, size / 100)  # divided by it first: the square of a large number is infinite
    ratio = (short - size / 2) / unit * (size / unit)
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
