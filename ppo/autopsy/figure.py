"""The figure of an autopsy: the course of each fork, and what each change keeps at which KL."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ppo.autopsy import verdict
from ppo.autopsy.changes import UNCHANGED
from ppo.telemetry import figures, intervals

LABEL = "share kept of what the policy had"
ROW_HEIGHT, NAME_HEIGHT = 4.2, 0.24  # inches
MARKERS = "sD^v"  # of changes, one for each of figures.DASHES


class Share(NamedTuple):
    """What the forks of one change keep at the end, with its interval, and at which KL."""

    name: str
    is_control: bool
    survivors: int
    forks: int
    kl: float
    mean: float
    low: float
    high: float


def draw(outcomes: Sequence[verdict.Outcome], path: Path, title: str) -> None:
    """Write a PNG: the mean curves of the forks, and below them the share kept over the KL."""
    unchanged, controls, changed = verdict.by_role(outcomes)
    points = [*(_share(one, True) for one in controls), *(_share(one, False) for one in changed)]
    looks, ends = looks_of(points), []
    height = max(ROW_HEIGHT, NAME_HEIGHT * len(outcomes))
    with figures.drawn(path, 2 * height) as figure:
        above, below = figure.subplots(2, 1)
        figure.suptitle(title, parse_math=False)
        figures.level(above, verdict.SURVIVES, "half is lost")
        for kept in unchanged.kept:
            above.plot(range(1, len(kept) + 1), kept, color="black", linewidth=0.6, alpha=0.3)
        for outcome in [*controls, *changed]:
            name, curve = outcome.change.name, outcome.curve
            above.plot(range(1, len(curve) + 1), curve, **looks[name])
            ends.append(figures.End(name, len(curve), curve[-1], looks[name]["color"]))
        above.set(xlabel="updates after the fork (thin: each unchanged fork)", ylabel=LABEL)
        figures.name_ends(above, ends)
        shares(below, [point for point in points if math.isfinite(point.kl)], looks)


def looks_of(points: Sequence[Share]) -> dict[str, dict[str, str]]:
    """Return the look of each change: black for the unchanged run and the smaller rates."""
    looks = figures.looks(point.name for point in points if not point.is_control)
    controls = [point.name for point in points if point.is_control]
    looks |= {name: {"color": "black", "linestyle": "--"} for name in controls}
    return looks | {UNCHANGED: {"color": "black", "linestyle": "-"}}


def _share(outcome: verdict.Outcome, is_control: bool) -> Share:
    values = outcome.kl.mean(), outcome.end.mean(), *intervals.of_mean(outcome.end)
    name, survivors, forks = outcome.change.name, outcome.survivors, outcome.forks
    return Share(name, is_control, survivors, forks, *map(float, values))


def shares(axes: Any, points: Sequence[Share], looks: Mapping[str, Mapping[str, str]]) -> None:
    """Plot the share kept at the end over the KL, with its interval and the controls' line."""
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log")
    ends = []
    for point in points:
        colour, dashes = looks[point.name]["color"], looks[point.name]["linestyle"]
        bar = [[max(0, point.mean - point.low)], [max(0, point.high - point.mean)]]
        marker = "o" if point.is_control else MARKERS[figures.DASHES.index(dashes)]
        axes.errorbar(point.kl, point.mean, bar, fmt=marker, capsize=3, color=colour)
        name = f"{point.name}: {point.survivors}/{point.forks}"
        ends.append(figures.End(name, point.kl, point.mean, colour))
    controls = sorted((point.kl, point.mean) for point in points if point.is_control)
    axes.plot(*zip(*controls, strict=True), color="black", linewidth=1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set(
        xlabel="mean approximate KL of an update until the collapse",
        ylabel="share kept at the end",
        title="circles: unchanged and smaller rates; numbers: forks that survive",
    )
    figures.level(axes, verdict.SURVIVES, "half is lost")
    figures.name_ends(axes, ends)
