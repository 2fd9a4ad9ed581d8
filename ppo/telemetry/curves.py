"""Learning curves of existing runs: read, measured, compared and plotted."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppo.errors import Refused
from ppo.files.folder import FolderError, RunFolder
from ppo.telemetry import figures, intervals, progress
from ppo.telemetry.counters import RECENT_EPISODES
from ppo.telemetry.figures import End
from ppo.telemetry.scalars import SCORE, TIME

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUM_POSITIONS = 200
SCORE_LABEL = "score, mean of 100 games"


@dataclass(frozen=True)
class Curve:
    """Scores of one run at the steps of its log entries, and the minutes on its clock, if known.
    The first ``few`` scores are means of fewer than 100 games.
    """

    steps: np.ndarray
    scores: np.ndarray
    minutes: np.ndarray | None = None
    few: int = 0


@dataclass(frozen=True)
class Comparison:
    """The ``scores`` of a variant, [runs, NUM_POSITIONS], at common ``steps``."""

    name: str
    steps: np.ndarray
    scores: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over the runs, [NUM_POSITIONS]."""
        return self.scores.mean(0)

    @property
    def area(self) -> float:
        """Area under the curve divided by its length: the mean score over the run."""
        return float(np.trapezoid(self.mean, self.steps) / np.ptp(self.steps))


def read(folder: Path) -> Curve:
    """Read the score of a run from its ``progress.csv``. Raises FolderError."""
    path = RunFolder(folder).progress
    columns, _ = progress.header(path)
    rows = [row for row in progress.numbers(folder) if SCORE in row]
    if columns and SCORE not in columns:
        raise FolderError(f"{path}: not the log of a run: it has no column {SCORE!r}")
    steps, scores = (np.array([row[key] for row in rows]) for key in ("step", SCORE))
    if not (np.diff(steps) > 0).all():
        raise FolderError(f"{path}: not the log of a run: a step is out of place")
    if len(steps) < 2:
        raise FolderError(f"{path} has no curve yet: fewer than two log entries with a score")
    minutes = np.array([row.get(TIME, np.nan) for row in rows]) / 60
    few = sum(row.get("rollout/games", math.inf) < RECENT_EPISODES for row in rows)
    return Curve(steps, scores, minutes if (np.diff(minutes) >= 0).all() else None, few)


def compare(variants: Mapping[str, Sequence[Curve]]) -> list[Comparison]:
    """Compare variants at the steps that all runs have reached. Raises Refused."""
    reached = [curve.steps for runs in variants.values() for curve in runs]
    first = max((steps[0] for steps in reached), default=0)
    last = min((steps[-1] for steps in reached), default=0)
    if first >= last:
        raise Refused("the runs have no steps in common" if reached else "no run has a curve")
    common = np.linspace(first, last, NUM_POSITIONS)
    return [
        Comparison(name, common, np.array([np.interp(common, c.steps, c.scores) for c in runs]))
        for name, runs in variants.items()
        if runs
    ]


def compare_each(variants: Mapping[str, Sequence[Curve]]) -> list[Comparison]:
    """Compare each variant by itself, unless its own runs have no curve or no steps in common."""
    comparisons = []
    for name, runs in variants.items():
        with suppress(Refused):
            comparisons += compare({name: runs})
    return comparisons


def draw(variants: Mapping[str, Sequence[Curve]], path: Path, title: str) -> None:
    """Plot the mean curve of each variant with its 95 percent interval, up to the end of its
    shortest run. Raises Refused if no variant has anything to show.
    """
    comparisons = compare_each(variants)
    if not comparisons:
        raise Refused("no variant has a curve that all its runs share, so nothing is drawn")
    with figures.drawn(path, max(4.2, 0.3 * len(comparisons))) as figure:
        axes = figure.subplots()
        ends = plot(axes, comparisons, figures.looks(one.name for one in comparisons))
        band = ": mean of the runs and 95 percent interval"
        title = figures.label(title) + band * any(len(one.scores) > 1 for one in comparisons)
        axes.set(xlabel="steps", ylabel=SCORE_LABEL)
        axes.set_title(title, parse_math=False)
        figures.count_steps(axes)
        figures.name_ends(axes, ends)


def plot(
    axes: "Axes", comparisons: Sequence[Comparison], looks: Mapping[str, Mapping[str, Any]]
) -> list[End]:
    """Plot mean curves, with an interval for several runs. Return the ends of the curves."""
    ends = []
    for comparison in comparisons:
        steps, mean, look = comparison.steps, comparison.mean, looks[comparison.name]
        axes.plot(steps, mean, **look)
        if len(comparison.scores) > 1:
            low, high = intervals.of_mean(comparison.scores)
            limits = axes.dataLim.frozen()
            axes.fill_between(steps, low, high, color=look["color"], alpha=0.15, linewidth=0)
            axes.dataLim.set(limits)  # the interval of two runs would dwarf the curves
        ends.append(End(comparison.name, steps[-1], mean[-1], look["color"]))
    return ends
