"""The figure of an autopsy: the course of each fork, and what each change keeps at which KL."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo.autopsy import verdict
from ppo.autopsy.changes import UNCHANGED
from ppo.autopsy.verdict import Outcome
from ppo.telemetry import figures, intervals
from ppo.telemetry.figures import End

LABEL = "share kept of what the policy had"
ROW_HEIGHT, NAME_HEIGHT = 4.2, 0.24  # inches


def draw(outcomes: Sequence[Outcome], path: Path, title: str) -> None:
    """Write a PNG: the curves of the forks, and below them the share kept over the KL."""
    unchanged, controls, changed = verdict.parted(outcomes)
    looks = figures.looks(outcome.change.name for outcome in changed)
    looks |= {outcome.change.name: {"color": "black", "linestyle": "--"} for outcome in controls}
    looks[UNCHANGED] = {"color": "black", "linestyle": "-"}
    height = max(ROW_HEIGHT, NAME_HEIGHT * len(outcomes))
    with figures.drawn(path, 2 * height) as figure:
        above, below = figure.subplots(2, 1)
        figure.suptitle(title, parse_math=False)
        for axes in (above, below):
            figures.level(axes, verdict.HELD, "half is lost")
        _curves(above, unchanged, [*controls, *changed], looks)
        _shares(below, sorted(controls, key=lambda outcome: outcome.kl.mean()), changed, looks)


def _curves(
    axes: Any,
    unchanged: Outcome,
    outcomes: Sequence[Outcome],
    looks: Mapping[str, Mapping[str, str]],
) -> None:
    """Plot the mean over the seeds after each update, and every seed of the unchanged run."""
    for kept in unchanged.kept:
        axes.plot(range(1, len(kept) + 1), kept, color="black", linewidth=0.6, alpha=0.3)
    ends = []
    for outcome in outcomes:
        look = looks[outcome.change.name]
        axes.plot(range(1, len(outcome.curve) + 1), outcome.curve, **look)
        ends.append(End(outcome.change.name, len(outcome.curve), outcome.curve[-1], look["color"]))
    axes.set(xlabel="updates after the fork (thin: each unchanged fork)", ylabel=LABEL)
    figures.name_ends(axes, ends)


def _shares(
    axes: Any,
    controls: Sequence[Outcome],
    changed: Sequence[Outcome],
    looks: Mapping[str, Mapping[str, str]],
) -> None:
    """Plot the share kept at the end over the KL, with its interval and the controls' line. Each
    name has the number of forks that survive.
    """
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log")
    ends = []
    for outcome in [*controls, *changed]:
        mean, (low, high) = outcome.end.mean(), intervals.bootstrap(outcome.end)
        color = looks[outcome.change.name]["color"]
        marker = "o" if outcome in controls else "s"
        bar = [[mean - low], [high - mean]]
        axes.errorbar(outcome.kl.mean(), mean, bar, fmt=marker, capsize=3, color=color)
        name = f"{outcome.change.name} ({outcome.held} of {outcome.forks})"
        ends.append(End(name, outcome.kl.mean(), mean, color))
    means = [(outcome.kl.mean(), outcome.end.mean()) for outcome in controls]
    axes.plot(*zip(*means, strict=True), color="black", linewidth=1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set(
        xlabel="mean approximate KL of an update until the collapse; line: smaller rates",
        ylabel="share kept at the end",
    )
    figures.name_ends(axes, ends)
