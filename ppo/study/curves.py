"""Learning curves of existing runs: read, measured, compared and drawn."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppo.files.folder import RunFolder

SCORE = "rollout/ep_rew_mean"
POINTS = 200
RESAMPLES = 2000
COLLAPSE_SHARE = 0.25


class CurveError(Exception):
    """A run has no curve; the message says why."""


@dataclass(frozen=True)
class Curve:
    """Scores of one run at the steps of its log entries, both [n]."""

    steps: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """The runs of one variant at common steps: ``scores`` is [runs, POINTS]."""

    name: str
    steps: np.ndarray
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
        return float(np.trapezoid(self.mean, self.steps) / np.ptp(self.steps))


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
        rows = [(row["step"], row[SCORE]) for row in progress(folder) if row[SCORE]]
        steps, scores = np.array(rows, float).reshape(-1, 2).T
    except (OSError, KeyError, ValueError) as error:
        raise CurveError(f"{path} is not the log of a run: {error}") from error
    if len(steps) < 2:
        raise CurveError(f"{path} has no curve yet: fewer than two log entries with a score")
    return Curve(steps, scores)


def compare(variants: Mapping[str, Sequence[Curve]]) -> list[Comparison]:
    """All variants at the steps that all their runs have reached."""
    curves = [curve for runs in variants.values() for curve in runs]
    first = max(curve.steps[0] for curve in curves)
    last = min(curve.steps[-1] for curve in curves)
    if first >= last:
        raise CurveError("the runs have no steps in common")
    steps = np.linspace(first, last, POINTS)
    return [
        Comparison(name, steps, np.array([np.interp(steps, c.steps, c.scores) for c in runs]))
        for name, runs in variants.items()
    ]


def each(variants: Mapping[str, Sequence[Curve]]) -> list[Comparison]:
    """Each variant by itself, at the steps that its own runs have all reached."""
    return [compare({name: runs})[0] for name, runs in variants.items()]


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


def table(variants: Mapping[str, Sequence[Curve]]) -> str:
    """The results of each variant, as Markdown, with the definition of each column."""
    comparisons = compare(variants)
    fall = fall_of_a_collapse(comparisons)
    lines = [
        "| variant | runs | steps | area | best | final | collapses | deepest |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for comparison in comparisons:
        found = [collapses(scores, fall) for scores in comparison.scores]
        depths = [depth for depths in found for depth in depths]
        best, final = comparison.scores.max(1), comparison.scores[:, -1]
        lines.append(
            f"| {comparison.name} | {len(comparison.scores)} | {comparison.steps[-1]:,.0f} "
            f"| {comparison.area:.2f} | {_spread(best)} | {_spread(final)} | {len(depths)} "
            f"| {max(depths, default=0):.2f} |"
        )
    return "\n".join(lines) + (
        "\n\nScores are means of the last 100 games, at the steps that all runs have reached. "
        "Area: mean over those steps. Best, final: mean over the runs (lowest to highest). "
        f"Collapses: falls of more than {fall:.2f} points below the best so far, a quarter of the "
        "range of all runs, until half of the fall is regained; deepest: the largest fall.\n"
    )


def draw(variants: Mapping[str, Sequence[Curve]], path: Path, title: str) -> None:
    """Draw the mean curve of each variant with its 95 percent interval, as far as all its own runs
    go.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    for comparison in each(variants):
        (line,) = axes.plot(comparison.steps, comparison.mean, label=comparison.name)
        if len(comparison.scores) > 1:
            low, high = comparison.interval()
            axes.fill_between(comparison.steps, low, high, color=line.get_color(), alpha=0.15)
    axes.set(title=title, xlabel="steps", ylabel="mean score of the last 100 games")
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _spread(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{values.mean():.2f} ({values.min():.2f} to {values.max():.2f})"
