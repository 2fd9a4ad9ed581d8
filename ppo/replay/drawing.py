"""Text, numbers and colours of annotated frames, painted on an RGB canvas [height, width, 3]."""

from collections.abc import Sequence

import cv2
import numpy as np

Colour = tuple[int, int, int]

BACKGROUND: Colour = (16, 19, 26)
FIELD: Colour = (30, 35, 46)  # the background of bars and curves
LINE: Colour = (62, 70, 88)
BRIGHT: Colour = (240, 243, 248)
DIM: Colour = (152, 161, 178)
BLUE: Colour = (98, 146, 222)
AMBER: Colour = (255, 184, 48)
GREEN: Colour = (92, 214, 130)
RED: Colour = (244, 98, 98)

_PLAIN, _BOLD = cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX


def canvas(height: int, width: int) -> np.ndarray:
    """Return an empty canvas."""
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def width_of(text: str, size: float, bold: bool = False) -> int:
    """Return the width of a text in pixels."""
    return cv2.getTextSize(text, _BOLD if bold else _PLAIN, size, 1)[0][0]


def fitting(texts: Sequence[str], size: float, width: int, bold: bool = False) -> float:
    """Return the size, or a smaller one if some text would exceed the width."""
    widest = max((width_of(text, size, bold) for text in texts), default=0)
    return size * min(1.0, width / max(widest, 1))


def write(
    on: np.ndarray,
    text: str,
    x: int,
    baseline: int,
    size: float,
    colour: Colour = BRIGHT,
    bold: bool = False,
    align: float = 0.0,
) -> None:
    """Draw a text with its left end, its middle (``align`` 0.5) or its right end (1) at ``x``."""
    left = x - round(align * width_of(text, size, bold)) if align else x
    font = _BOLD if bold else _PLAIN
    cv2.putText(on, text, (left, baseline), font, size, colour, 1, cv2.LINE_AA)


def write_number(
    on: np.ndarray,
    text: str,
    x: int,
    baseline: int,
    cells: int,
    size: float,
    colour: Colour = BRIGHT,
    bold: bool = False,
    align: int = 1,
) -> None:
    """Draw a number over the previous one, cut to ``cells`` characters, in a field of their width.
    The field ends at ``x``, or begins there with ``align`` 0.
    """
    width, height, below = cells * width_of("0", size, bold), round(30 * size), round(8 * size)
    place, left, top = canvas(height, width), x - align * width, baseline - height + below
    write(place, text[:cells], align * width, height - below, size, colour, bold, align)
    on[top : top + height, left : left + width] = place


def number_text(value: float, form: str, cells: int) -> str:
    """Return a value in a format such as ``.2f``, with fewer digits if it has no room."""
    text = format(value, form)
    for digits in range(cells, 0, -1):
        if len(text) > cells:
            text = f"{value:.{digits}g}"
    return text
