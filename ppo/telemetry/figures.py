"""The one style of all figures: colours, sizes, and names beside the lines instead of a legend."""

import io
import itertools
import os
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppo.files.atomic import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Six colours of Okabe and Ito (2008), which people with any colour vision can distinguish; then the
# same in dashes, and so on.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", ":", "-.")
GRAY = "#6e7781"  # what others published, and levels to compare with
WIDTH = 9.0  # inches, shown in a page at about 830 pixels
DPI = 180
STYLE: dict[Any, Any] = {
    "font.size": 11.5,
    "axes.titlesize": 11.5,
    "figure.titlesize": 13,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "ppo",
}
LONGEST_LABEL, LABEL_LINE = 60, 24  # characters
LABEL_SIZE, LABEL_LEADING = 10.5, 13.0  # points
ARROW = {"arrowstyle": "-", "lw": 0.8, "alpha": 0.5, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 2}


class End(NamedTuple):
    """Where a line ends, and its name."""

    name: str
    x: float
    y: float
    colour: str


@contextmanager
def drawn(path: Path, height: float) -> Iterator["Figure"]:
    """Open an empty figure of a height in inches. Save it as PNG or SVG when the context ends."""
    with figure(WIDTH, height) as (empty, save):
        yield empty
        write_whole(path, save(path.suffix.removeprefix(".")))


@contextmanager
def figure(width: float, height: float) -> Iterator[tuple["Figure", Callable[[str], bytes]]]:
    """Open an empty figure of this size in inches, and a function that returns it in a format."""
    os.environ["MPLBACKEND"] = "agg"  # whatever the user prefers, which may not exist
    import matplotlib

    matplotlib.use("agg")  # if it was imported before
    from matplotlib import pyplot

    def save(kind: str) -> bytes:
        content = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        made.savefig(content, dpi=DPI, format=kind, metadata=metadata)
        return content.getvalue()

    # The user's own settings may need programs, such as TeX, that are not installed.
    default = {key: at for key, at in matplotlib.rcParamsDefault.items() if key != "backend"}
    with pyplot.rc_context(default | STYLE):
        made = pyplot.figure(figsize=(width, height), layout="constrained")
        yield made, save
        pyplot.close(made)


def looks(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the colour and dashes of each name's line."""
    kinds = itertools.cycle(itertools.product(DASHES, PALETTE))
    return {
        name: {"color": colour, "linestyle": dashes}
        for name, (dashes, colour) in zip(dict.fromkeys(names), kinds, strict=False)
    }


def name_ends(axes: "Axes", ends: Sequence[End]) -> None:
    """Write names near the ends of lines. The plot's limits must be final."""
    height = axes.get_window_extent().height / axes.figure.dpi * 72
    low, high = axes.get_ylim()
    ordered = sorted(ends, key=lambda end: end.y)
    texts = [textwrap.fill(label(end.name), LABEL_LINE) for end in ordered]
    sizes = [LABEL_LEADING / height * (text.count("\n") + 1) for text in texts]
    wanted = [(end.y - low) / (high - low) for end in ordered]
    for end, text, place in zip(ordered, texts, spread(wanted, sizes), strict=True):
        annotation = axes.annotate(
            text,
            (end.x, end.y),
            (1.025, place),
            textcoords="axes fraction",
            color=end.colour,
            fontsize=LABEL_SIZE,
            va="center",
            annotation_clip=False,
            arrowprops=dict(ARROW, color=end.colour),
        )
        annotation.set_parse_math(False)


def spread(wanted: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Return the middles of parts that do not overlap, near the ``wanted`` ones, all below 1."""
    total = np.cumsum(sizes)
    stacked = total - np.array(sizes) / 2  # without gaps, from 0 on
    gaps = np.maximum.accumulate(wanted - stacked)
    return (stacked + np.minimum(gaps, 1 - total[-1:])).tolist()


def level(axes: "Axes", height: float, name: str) -> None:
    """Draw a dotted line at a height, with its name at the left."""
    axes.axhline(height, color=GRAY, linestyle=":", linewidth=1.2)
    axes.annotate(
        name, (0.01, height), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", color=GRAY, fontsize=LABEL_SIZE,
    )  # fmt: skip


def label(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return a name as a figure shows it, cut in the middle if it is too long."""
    text, half = legible(text), max(2, longest // 2)
    return text if len(text) <= longest else f"{text[: half - 1]}…{text[-half:]}"


def legible(text: str) -> str:
    """Return the text with an escape for each character that cannot be printed."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def count_steps(axes: "Axes") -> None:
    """Write the numbers of the x axis with commas, or in millions if it is long."""
    unit, name = (1e6, "M") if axes.get_xlim()[1] >= 1e6 else (1, "")
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / unit:,.10g}{name}" if x else "0")
