"""The speed of a run, and the time that its rest takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.progress import Progress

from ppo.settings import ResolvedParams

PERIOD_SECONDS = 60.0


class Speed(NamedTuple):
    """Steps per second, and seconds to the end of the run."""

    steps_per_second: float
    seconds_left: float


class Pace:
    """Measures a run. Evaluations are measured by themselves, because they are long and rare."""

    def __init__(self, params: ResolvedParams, clock: Callable[[], float] = time.monotonic):
        self.params, self._clock = params, clock
        self._evaluations, self._evaluating = 0, 0.0
        self._progress = Progress(
            speed_estimate_period=PERIOD_SECONDS, get_time=lambda: clock() - self._evaluating
        )
        self._task = self._progress.add_task("", total=None)

    def mark(self, step: int) -> None:
        """Note that an iteration has ended at this step."""
        self._progress.update(self._task, completed=step)

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        began = self._clock()
        try:
            yield
            self._evaluations += 1
        finally:
            self._evaluating += self._clock() - began

    def speed(self, step: int) -> Speed | None:
        """Return the speed over the last minute, and the time for the steps and evaluations after
        this step. An evaluation ahead is assumed to take the mean time of this process's
        evaluations. The first iteration does not count, because it also compiles. Return None if
        nothing is known.
        """
        rate = self._progress.tasks[0].speed
        if not rate:
            return None
        total, interval = self.params.end_from(step), self.params.evaluation_interval
        ahead = total // interval - step // interval if interval else 0
        mean = self._evaluating / self._evaluations if self._evaluations else 0.0
        return Speed(rate, max(0, total - step) / rate + ahead * mean)
