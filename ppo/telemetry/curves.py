"""Learning curves of existing runs: read, measured, compared and plotted."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ppo.errors import Refused
from ppo.files.folder import RunFolder
from ppo.system import tables
from ppo.system.reading import Unreadable
from ppo.telemetry import figures, intervals, progress
from ppo.telemetry.figures import End, legible
from ppo.telemetry.scalars import SCORE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TIME = "time/time_elapsed"  # in seconds
NUM_POSITIONS = 200
COLLAPSE_SHARE = 0.25
HEAD = ("variant", "runs", "steps", "area", "best", "final", "collapses", "deepest")
SCORE_LABEL = "score, mean of 100 games"

Axis = Literal["steps", "minutes"]


class CurveError(Refused):
    """A run has no curve; the message says why."""


@dataclass(frozen=True)
class Curve:
    """Scores of one run at the steps of its log entries, and the minutes on its clock, if known."""

    steps: np.ndarray
    scores: np.ndarray
    minutes: np.ndarray | None = None

    def over(self, axis: Axis) -> np.ndarray:
        """Return the steps, or the minutes. Raises CurveError if the curve has none."""
        positions = self.steps if axis == "steps" else self.minutes
        if positions is None:
            raise CurveError(f"the log of a run has no {axis}")
        return positions


@dataclass(frozen=True)
class Comparison:
    """The ``scores`` of a variant, [runs, NUM_POSITIONS], at common ``positions``."""

    name: str
    positions: np.ndarray
    scores: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over the runs, [NUM_POSITIONS]."""
        return self.scores.mean(0)

    @property
    def area(self) -> float:
        """Area under the curve divided by its length: the mean score over the run."""
        return float(np.trapezoid(self.mean, self.positions) / np.ptp(self.positions))


def read(folder: Path) -> Curve:
    """Read the score of a run from its ``progress.csv``. Raises CurveError."""
    path = RunFolder(folder).progress
    try:
        columns, _ = progress.header(path)
        rows = [row for row in progress.numbers(folder) if SCORE in row]
    except Unreadable as error:
        raise CurveError(str(error)) from error
    if columns and SCORE not in columns:
        raise CurveError(f"{path}: not the log of a run: it has no column {SCORE!r}")
    steps, scores = (np.array([row[key] for row in rows]) for key in ("step", SCORE))
    if not (np.diff(steps) > 0).all():
        raise CurveError(f"{path}: not the log of a run: a step is out of place")
    if len(steps) < 2:
        raise CurveError(f"{path} has no curve yet: fewer than two log entries with a score")
    minutes = np.array([row.get(TIME, np.nan) for row in rows]) / 60
    return Curve(steps, scores, minutes if (np.diff(minutes) >= 0).all() else None)


def compare(variants: Mapping[str, Sequence[Curve]], axis: Axis = "steps") -> list[Comparison]:
    """Compare variants at the steps, or minutes, that all runs have reached. Raises CurveError."""
    reached = [curve.over(axis) for runs in variants.values() for curve in runs]
    first = max((positions[0] for positions in reached), default=0)
    last = min((positions[-1] for positions in reached), default=0)
    if first >= last:
        raise CurveError(f"the runs have no {axis} in common" if reached else "no run has a curve")
    common = np.linspace(first, last, NUM_POSITIONS)
    return [
        Comparison(
            name, common, np.array([np.interp(common, c.over(axis), c.scores) for c in runs])
        )
        for name, runs in variants.items()
        if runs
    ]


def each(variants: Mapping[str, Sequence[Curve]], axis: Axis = "steps") -> list[Comparison]:
    """Compare each variant by itself, unless its own runs have no curve or no steps in common."""
    found = []
    for name, runs in variants.items():
        with suppress(CurveError):
            found += compare({name: runs}, axis)
    return found


def collapses(scores: np.ndarray, fall: float) -> list[float]:
    """Return the depth of each collapse of a curve, in points.

    A collapse begins when the score is more than ``fall`` below the best since the last collapse.
    It ends when half of the loss is regained. Its depth is the whole loss.
    """
    depths: list[float] = []
    peak, trough = scores[0], None
    for score in scores:
        if trough is None:
            peak = max(peak, score)
            trough = score if peak - score > fall else None
            continue
        trough = min(trough, score)
        if score >= (peak + trough) / 2:
            depths.append(float(peak - trough))
            peak, trough = score, None
    return depths if trough is None else [*depths, float(peak - trough)]


def table(
    variants: Mapping[str, Sequence[Curve]], missing: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Return the results as Markdown. ``missing`` has a line for each run without a curve."""
    missing = missing or {}
    try:
        results, meaning = _results(compare(variants))
    except CurveError as error:
        results, meaning = {}, f"No results: {error}."
    rows = []
    for name in dict.fromkeys([*variants, *missing]):
        runs, without = len(variants.get(name, ())), len(missing.get(name, ()))
        number = f"{runs} of {runs + without}" if without else f"{runs}"
        rows.append([legible(name), number, *results.get(name, ["–"] * 6)])
    if missing:
        meaning += "\n\nNot every run has a curve:\n\n"
        meaning += "\n".join(f"- {legible(line)}" for found in missing.values() for line in found)
    return f"{tables.markdown(HEAD, rows, 'lrrrrrrr')}\n{meaning}\n"


def _results(comparisons: Sequence[Comparison]) -> tuple[dict[str, list[str]], str]:
    """Return the cells of each variant, from the third column on, and their meaning."""
    first = np.mean([comparison.scores[:, 0].mean() for comparison in comparisons])
    best = max(comparison.scores.max() for comparison in comparisons)
    fall, results = float(COLLAPSE_SHARE * (best - first)), {}
    for comparison in comparisons:
        found = [collapses(scores, fall) for scores in comparison.scores]
        depths = [depth for depths in found for depth in depths]
        results[comparison.name] = [
            f"{comparison.positions[-1]:,.0f}",
            f"{comparison.area:.2f}",
            _spread(comparison.scores.max(1)),
            _spread(comparison.scores[:, -1]),
            f"{len(depths)}",
            f"{max(depths, default=0):.2f}",
        ]
    return results, (
        "Scores are means of the last 100 games, at the steps that all runs have reached. "
        "Area: mean over those steps. Best, final: mean over the runs (lowest to highest). "
        f"Collapses: falls of more than {fall:.2f} points, a quarter of the range, below the best "
        "since the last collapse, until half is regained. Deepest: the largest fall."
    )


def draw(variants: Mapping[str, Sequence[Curve]], path: Path, title: str) -> None:
    """Plot each variant's mean curve, with an interval, up to the end of its shortest run. The plot
    is over steps, and over minutes if all logs have them. Raises CurveError if there is no curve.
    """
    panels = {axis: found for axis in get_args(Axis) if (found := each(variants, axis))}
    if not panels:
        raise CurveError("no variant has a curve that all its runs share, so nothing is drawn")
    # Each curve has its name in the last panel that shows it.
    named = {comparison.name: axis for axis, found in panels.items() for comparison in found}
    looks = figures.looks(name for name in variants if name in named)
    with figures.drawn(path, max(4.2, 0.3 * len(named))) as figure:
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (axis, comparisons) in zip(row, panels.items(), strict=True):
            ends = [end for end in plot(axes, comparisons, looks) if named[end.name] == axis]
            axes.set(xlabel=axis)
            figures.count_steps(axes)
            figures.name_ends(axes, ends)
        row[0].set(ylabel=SCORE_LABEL)
        figure.suptitle(figures.label(title), parse_math=False)


def plot(
    axes: "Axes", comparisons: Sequence[Comparison], looks: Mapping[str, Mapping[str, Any]]
) -> list[End]:
    """Plot mean curves, with an interval for several runs. Return the ends of the curves."""
    ends = []
    for comparison in comparisons:
        positions, mean, look = comparison.positions, comparison.mean, looks[comparison.name]
        axes.plot(positions, mean, **look)
        if len(comparison.scores) > 1:
            low, high = intervals.bootstrap(comparison.scores)
            axes.fill_between(positions, low, high, color=look["color"], alpha=0.15, linewidth=0)
        ends.append(End(comparison.name, positions[-1], mean[-1], look["color"]))
    return ends


def _spread(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})"
