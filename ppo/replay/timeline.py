"""The course of a game up to now: the value as a curve, rewards as ticks."""

import math

import cv2
import numpy as np

from ppo.replay.drawing import AMBER, BACKGROUND, BLUE, DIM, FIELD, GREEN, LINE, RED, write

LABELS = 86  # pixels to the left of the curve
TICKS = 44  # pixels below it: rewards above, losses below their middle line
TICK_WIDTH = 3
TEXT = 0.66


class Timeline:
    """A curve of ``height`` pixels over the whole game, with ticks below. Its range only grows."""

    def __init__(self, left: int, top: int, right: int, height: int, steps: int):
        self._left, self._top, self._height, self._steps = left + LABELS, top, height, steps
        self._width = right - self._left
        self._low, self._high = 0.0, 1.0
        # By column: the lowest and highest value.
        self._values = np.full((2, self._width), np.nan)
        self._plain: np.ndarray | None = None  # the empty field

    def draw_frame(self, on: np.ndarray) -> None:
        """Draw what never changes: the fields and the time axis."""
        right, bottom = self._left + self._width, self._top + self._height
        middle = bottom + 6 + TICKS // 2
        on[bottom + 6 : bottom + 6 + TICKS, self._left : right] = FIELD
        on[middle, self._left : right] = LINE
        write(on, "reward", self._left - 10, middle + 7, TEXT, DIM, align=1)
        self._draw_axis(on)

    def value(self, on: np.ndarray, step: int, value: float) -> None:
        """Add the value of a step and draw the curve up to it."""
        column = self._column(step)
        low, high = self._values[:, column]
        self._values[:, column] = np.fmin(low, value), np.fmax(high, value)
        if not self._low <= value <= self._high:
            self._low = min(self._low, -_rounded_up(-value))
            self._high = max(self._high, _rounded_up(value))
            self._draw_axis(on)
        field = self._field(on)
        field[:] = self._plain
        (columns,) = np.nonzero(np.isfinite(self._values[0]))
        lows, highs = self._row(self._values[0, columns]), self._row(self._values[1, columns])
        points = np.stack([np.repeat(columns, 2), np.stack([highs, lows], 1).ravel()], axis=1)
        cv2.polylines(field, [points.astype(np.int32)], False, BLUE, 2, cv2.LINE_AA)
        last = min(int(columns[-1]), self._width - 6), int(self._row(value))
        cv2.circle(field, last, 5, AMBER, -1, cv2.LINE_AA)

    def reward(self, on: np.ndarray, step: int, reward: float) -> None:
        middle = self._top + self._height + 6 + TICKS // 2
        above = slice(middle - TICKS // 2 + 2, middle), GREEN
        below = slice(middle + 1, middle + TICKS // 2), RED
        rows, colour = above if reward > 0 else below
        left = self._left + min(self._column(step), self._width - TICK_WIDTH)
        on[rows, left : left + TICK_WIDTH] = colour

    def _column(self, step: int) -> int:
        return min(step * self._width // self._steps, self._width - 1)

    def _row(self, value: np.ndarray | float) -> np.ndarray:
        share = (np.asarray(value) - self._low) / (self._high - self._low)
        return np.rint(4 + (1 - share) * (self._height - 9)).astype(np.int32)

    def _field(self, on: np.ndarray) -> np.ndarray:
        rows = slice(self._top, self._top + self._height)
        return on[rows, self._left : self._left + self._width]

    def _draw_axis(self, on: np.ndarray) -> None:
        bottom = self._top + self._height + 6
        on[self._top - 8 : bottom, self._left - LABELS : self._left] = BACKGROUND
        field = self._field(on)
        field[:] = FIELD
        for value in sorted({self._low, 0.0, self._high}):
            row = int(self._row(value))
            field[row] = LINE
            room = min(-self._low, self._high) * self._height  # around 0
            if value in (self._low, self._high) or room > 24 * (self._high - self._low):
                write(on, f"{value:g}", self._left - 10, self._top + row + 7, TEXT, DIM, align=1)
        self._plain = field.copy()


def _rounded_up(value: float) -> float:
    """Round up to the next of 1, 2, 5, 10, 20... Return 0 if the value is not above 0."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= value)
