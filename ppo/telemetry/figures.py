"""Figures, as PNG files that are whole or absent."""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppo.files.folder import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LONGEST_LABEL = 60  # characters
DPI = 110


@contextmanager
def drawn(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """Open an empty figure of this size in inches; save it when the context ends."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(width, height), layout="constrained")
    yield figure
    content = io.BytesIO()
    figure.savefig(content, dpi=DPI, format="png")
    pyplot.close(figure)
    write_whole(path, content.getvalue())


def colors(names: Iterable[str]) -> dict[str, Any]:
    """Return a color for each name: ten strong ones, then ten pale ones, then again."""
    import matplotlib

    pairs = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    inorder = [*pairs[::2], *pairs[1::2]]
    return {name: inorder[number % 20] for number, name in enumerate(dict.fromkeys(names))}


def legend(figure: "Figure", of: Mapping[str, Any]) -> None:
    """Write the names of the colors under the figure, literally."""
    from matplotlib.lines import Line2D

    lines = {name: Line2D([], [], color=color) for name, color in of.items()}
    named(figure, lines, loc="outside lower center", ncols=3, frameon=False)


def named(place: "Figure | Axes", lines: Mapping[str, "Line2D"], **how: Any) -> None:
    """Make a legend of lines with their literal names: matplotlib reads $ as mathematics, and
    leaves out a name that begins with an underscore.
    """
    numbers = [str(number) for number in range(len(lines))]
    shown = place.legend([*lines.values()], numbers, **how)
    for text, name in zip(shown.get_texts(), lines, strict=True):
        text.set(text=label(name), parse_math=False)


def label(text: str) -> str:
    """Return a name as a figure shows it, cut in the middle if it is too long."""
    text, half = legible(text), LONGEST_LABEL // 2
    return text if len(text) <= LONGEST_LABEL else f"{text[: half - 1]}…{text[-half:]}"


def legible(text: str) -> str:
    """Return the text with an escape for each character that cannot be printed."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
