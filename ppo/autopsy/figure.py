"""The figure of an autopsy: the course of each fork, and what each change keeps at which KL."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo.autopsy import verdict
from ppo.autopsy.verdict import Outcome
from ppo.telemetry import figures, intervals


def draw(outcomes: Sequence[Outcome], path: Path, title: str) -> None:
    """Write a PNG: the curves of the forks, and beside them the share kept over the KL."""
    unchanged, controls, changed = verdict.parted(outcomes)
    colors = figures.colors(outcome.change.name for outcome in changed)
    with figures.drawn(path, 14, 6) as figure:
        left, right = figure.subplots(1, 2)
        figure.suptitle(title, parse_math=False)
        _curves(left, unchanged, controls[1:], changed, colors)
        _shares(right, sorted(controls, key=lambda outcome: outcome.kl.mean()), changed, colors)
        for axes in (left, right):
            axes.axhline(verdict.HELD, color="grey", linestyle=":")
            axes.grid(alpha=0.3)
        handles, labels = right.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)


def _curves(
    axes: Any,
    unchanged: Outcome,
    rates: Sequence[Outcome],
    changed: Sequence[Outcome],
    colors: Mapping[str, Any],
) -> None:
    """Plot the mean over the seeds after each update, and every seed of the unchanged run."""
    for kept in unchanged.kept:
        axes.plot(range(1, len(kept) + 1), kept, color="black", linewidth=0.6, alpha=0.4)
    lines: list[tuple[Outcome, dict[str, Any]]] = [
        (unchanged, {"color": "black", "linewidth": 2.5})
    ]
    lines += [(outcome, {"color": "black", "linestyle": "--", "linewidth": 1}) for outcome in rates]
    lines += [
        (outcome, {"color": colors[outcome.change.name], "linewidth": 1.5}) for outcome in changed
    ]
    for outcome, style in lines:
        axes.plot(range(1, len(outcome.curve) + 1), outcome.curve, **style)
    axes.set(xlabel="updates after the fork", ylabel="share of the height, mean over the seeds")


def _shares(
    axes: Any, controls: Sequence[Outcome], changed: Sequence[Outcome], colors: Mapping[str, Any]
) -> None:
    """Plot the share kept at the end over the KL, with its interval and the controls' line."""
    from matplotlib.ticker import LogLocator

    means = [(outcome.kl.mean(), outcome.end.mean()) for outcome in controls]
    axes.plot(*zip(*means, strict=True), "o-", color="black", label="unchanged, and smaller rates")
    for outcome, point in zip(controls, means, strict=True):
        axes.annotate(outcome.change.name, point, (5, -12), textcoords="offset points", fontsize=9)
    for outcome in changed:
        mean, (low, high) = outcome.end.mean(), intervals.bootstrap(outcome.end)
        axes.errorbar(
            outcome.kl.mean(),
            mean,
            [[mean - low], [high - mean]],
            fmt="s",
            capsize=3,
            color=colors[outcome.change.name],
            label=f"{outcome.change.name} ({outcome.held} of {outcome.forks} hold)",
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set(
        xlabel="mean approximate KL of an update, until the fall",
        ylabel="share of the height at the end",
    )
