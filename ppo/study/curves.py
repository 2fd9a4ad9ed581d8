"""Learning curves of existing runs: read, measured, compared and drawn."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ppo.files.folder import RunFolder, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORE = "rollout/ep_rew_mean"
TIME = "time/time_elapsed"  # in seconds
POINTS = 200
RESAMPLES = 2000
COLLAPSE_SHARE = 0.25
LONGEST_LABEL = 60  # characters, in a figure
SCORE_LABEL = "mean score of the last 100 games"

Axis = Literal["steps", "minutes"]


class CurveError(Exception):
    """A run has no curve; the message says why."""


@dataclass(frozen=True)
class Curve:
    """Scores of one run at the steps of its log entries, and the minutes of its clock until then,
    all [n]; None if the log does not have these.
    """

    steps: np.ndarray
    scores: np.ndarray
    minutes: np.ndarray | None = None

    def over(self, axis: Axis) -> np.ndarray:
        """Steps, or minutes. Raises CurveError if it has none."""
        places = self.steps if axis == "steps" else self.minutes
        if places is None:
            raise CurveError(f"the log of a run has no {axis}")
        return places


@dataclass(frozen=True)
class Comparison:
    """The runs of one variant at common ``places``, steps or minutes, [POINTS]; ``scores`` is
    [runs, POINTS].
    """

    name: str
    places: np.ndarray
    scores: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over the runs, [POINTS]."""
        return self.scores.mean(0)

    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """The 95 percent interval of the mean, by bootstrap over the runs, each [POINTS]."""
        runs = len(self.scores)
        draws = np.random.default_rng(0).integers(0, runs, (RESAMPLES, runs))
        low, high = np.percentile(self.scores[draws].mean(1), [2.5, 97.5], axis=0)
        return low, high

    @property
    def area(self) -> float:
        """Area under the curve divided by its length: the mean score over the run."""
        return float(np.trapezoid(self.mean, self.places) / np.ptp(self.places))


def progress(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's ``progress.csv``, none if it has no such file. Raises OSError."""
    path = RunFolder(folder).progress
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def read(folder: Path) -> Curve:
    """The score of a run from its ``progress.csv``. Raises CurveError."""
    path = RunFolder(folder).progress
    try:
        rows = [
            (row["step"], row[SCORE], row.get(TIME) or "nan")
            for row in progress(folder)
            if row[SCORE]
        ]
        steps, scores, seconds = np.array(rows, float).reshape(-1, 3).T
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise CurveError(f"{path} is not the log of a run: {error}") from error
    if not (np.isfinite(steps).all() and np.isfinite(scores).all() and (np.diff(steps) > 0).all()):
        raise CurveError(f"{path} is not the log of a run: a step or a score is out of place")
    if len(steps) < 2:
        raise CurveError(f"{path} has no curve yet: fewer than two log entries with a score")
    goes_on = np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()
    return Curve(steps, scores, seconds / 60 if goes_on else None)


def compare(variants: Mapping[str, Sequence[Curve]], axis: Axis = "steps") -> list[Comparison]:
    """All variants that have a curve, at the steps, or minutes, that all runs have reached. Raises
    CurveError if there are none.
    """
    reached = [curve.over(axis) for runs in variants.values() for curve in runs]
    first = max((places[0] for places in reached), default=0)
    last = min((places[-1] for places in reached), default=0)
    if first >= last:
        raise CurveError(f"the runs have no {axis} in common" if reached else "no run has a curve")
    common = np.linspace(first, last, POINTS)
    return [
        Comparison(
            name, common, np.array([np.interp(common, c.over(axis), c.scores) for c in runs])
        )
        for name, runs in variants.items()
        if runs
    ]


def each(variants: Mapping[str, Sequence[Curve]], axis: Axis = "steps") -> list[Comparison]:
    """Each variant by itself, at the steps, or minutes, that its own runs have all reached;
    without those that have no curve, or none of these in common.
    """
    found = []
    for name, runs in variants.items():
        try:
            found += compare({name: runs}, axis)
        except CurveError:
            continue
    return found


def collapses(scores: np.ndarray, fall: float) -> list[float]:
    """The depth of each collapse of a curve, in points.

    A collapse begins when the score is more than ``fall`` below the best so far, and ends when
    half of the loss is regained; its depth is the whole loss.
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


def fall_of_a_collapse(comparisons: Sequence[Comparison]) -> float:
    """COLLAPSE_SHARE of the range between the mean first score and the best of all runs."""
    first = np.mean([comparison.scores[:, 0].mean() for comparison in comparisons])
    best = max(comparison.scores.max() for comparison in comparisons)
    return float(COLLAPSE_SHARE * (best - first))


def table(
    variants: Mapping[str, Sequence[Curve]], missing: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The results of each variant, as Markdown, with the definition of each column.

    ``missing`` has for a variant a line for each of its runs that has no curve.
    """
    missing = missing or {}
    try:
        results, meaning = _results(compare(variants))
    except CurveError as error:
        results, meaning = {}, f"No results: {error}."
    lines = [
        "| variant | runs | steps | area | best | final | collapses | deepest |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for name in dict.fromkeys([*variants, *missing]):
        runs, without = len(variants.get(name, ())), len(missing.get(name, ()))
        number = f"{runs} of {runs + without}" if without else f"{runs}"
        cells = [legible(name).replace("|", r"\|"), number, *results.get(name, ["–"] * 6)]
        lines.append(f"| {' | '.join(cells)} |")
    if missing:
        meaning += "\n\nNot every run has a curve:\n\n"
        meaning += "\n".join(f"- {legible(line)}" for found in missing.values() for line in found)
    return "\n".join(lines) + f"\n\n{meaning}\n"


def _results(comparisons: Sequence[Comparison]) -> tuple[dict[str, list[str]], str]:
    """The cells of each variant, from the third column on, and what they mean."""
    fall = fall_of_a_collapse(comparisons)
    results = {}
    for comparison in comparisons:
        found = [collapses(scores, fall) for scores in comparison.scores]
        depths = [depth for depths in found for depth in depths]
        results[comparison.name] = [
            f"{comparison.places[-1]:,.0f}",
            f"{comparison.area:.2f}",
            _spread(comparison.scores.max(1)),
            _spread(comparison.scores[:, -1]),
            f"{len(depths)}",
            f"{max(depths, default=0):.2f}",
        ]
    return results, (
        "Scores are means of the last 100 games, at the steps that all runs have reached. "
        "Area: mean over those steps. Best, final: mean over the runs (lowest to highest). "
        f"Collapses: falls of more than {fall:.2f} points below the best so far, a quarter of the "
        "range of all runs, until half of the fall is regained; deepest: the largest fall."
    )


def legible(text: str) -> str:
    """The text with an escape in place of each character that cannot be printed."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def draw(variants: Mapping[str, Sequence[Curve]], path: Path, title: str) -> None:
    """Draw the mean curve of each variant with its 95 percent interval, as far as all its own runs
    go: over the steps, and over the minutes where a log has them.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = {axis: found for axis in get_args(Axis) if (found := each(variants, axis))}
    figure = pyplot.figure(figsize=(2 + 6 * len(panels), 5), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    colors = {name: f"C{number}" for number, name in enumerate(variants)}
    for axes, (axis, comparisons) in zip(grid[0], panels.items(), strict=True):
        panel(axes, axis, comparisons, colors)
    grid[0][0].set(ylabel=SCORE_LABEL)
    figure.suptitle(_label(title), parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format="png")
    pyplot.close(figure)
    write_whole(path, content.getvalue())


def panel(
    axes: "Axes", axis: Axis, comparisons: Sequence[Comparison], colors: Mapping[str, str]
) -> None:
    """The curves of a figure's part, each variant in its color."""
    for comparison in comparisons:
        color = colors[comparison.name]
        axes.plot(comparison.places, comparison.mean, color=color)
        if len(comparison.scores) > 1:
            low, high = comparison.interval()
            axes.fill_between(comparison.places, low, high, color=color, alpha=0.15)
    axes.set(xlabel=axis)
    axes.xaxis.set_major_formatter(lambda place, _: f"{place:,.10g}")
    axes.grid(alpha=0.3)
    legend = axes.legend(axes.lines, [str(number) for number in range(len(comparisons))])
    for text, comparison in zip(legend.get_texts(), comparisons, strict=True):
        text.set(text=_label(comparison.name), parse_math=False)


def _label(text: str) -> str:
    """A name as a figure shows it, cut in the middle if it is too long."""
    text, half = legible(text), LONGEST_LABEL // 2
    return text if len(text) <= LONGEST_LABEL else f"{text[: half - 1]}…{text[-half:]}"


def _spread(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})"
