"""How fast a run is, for the time that is left."""

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 60.0
MARK_SECONDS = 1.0


class Pace:
    """Steps per second over the last minute, with everything that a run does in them. The first
    iteration does not count, because it also compiles.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._marks: deque[tuple[float, int]] = deque()  # times, and the steps reached by then

    def mark(self, step: int) -> None:
        """Note that an iteration has ended at a step."""
        now, marks = self._clock(), self._marks
        if not marks or now - marks[-1][0] >= MARK_SECONDS:
            marks.append((now, step))
        while len(marks) > 1 and now - marks[1][0] >= WINDOW_SECONDS:
            marks.popleft()

    def rate(self, step: int) -> float | None:
        """Return the steps per second up to a step that is reached now, or None if unknown."""
        if not self._marks or step <= self._marks[0][1]:
            return None
        first_time, first_step = self._marks[0]
        return (step - first_step) / (self._clock() - first_time)
