"""The figures of pages that are drawn from results in the repository."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import games_store
from benchmarks.collapses import RATE, UPDATES, Fork, changes, load
from benchmarks.games_results import curve_of
from docs import from_scratch
from docs.collapse_tables import CHANGES, height
from ppo.autopsy import figure as autopsy
from ppo.autopsy.changes import UNCHANGED
from ppo.autopsy.figure import Share
from ppo.report import published
from ppo.system.streams import counted
from ppo.telemetry import figures
from ppo.telemetry.curves import SCORE_LABEL, compare_each, plot

DOCS = Path(__file__).resolve().parent
FIGURES = DOCS / "figures"
CHANGES_IN_A_ROW, PANEL_TITLE_SIZE = 5, 9.5  # panels, points
# The figures of the tables of collapse-limit.md, in their order.
COLLAPSES = ("collapse.png", "collapse-changes.png", "collapse-second.png")
ROW = re.compile(
    r"\| (.+?) \| `.+?` \| (\d+) of (\d+) "
    r"\| ([\d.-]+) \(([\d.-]+) to ([\d.-]+)\) \| \S+ \| (\S+) \|.*"
)


def pong(path: Path) -> None:
    """Draw the seeds of the preset pong in games.jsonl, and published curves up to their end."""
    runs = [run for run in games_store.load(DOCS / "games.jsonl") if run.settings == "pong"]
    comparisons = compare_each({f"seed {run.seed}": [curve_of(run)] for run in runs})
    with figures.drawn(path, 4.5) as figure:
        axes = figure.subplots()
        ends = plot(axes, comparisons, figures.looks(one.name for one in comparisons))
        ends += published.plot(axes, published.curves("pong"), comparisons[0].steps[-1])
        axes.set(xlabel="steps", ylabel=SCORE_LABEL)
        figures.count_steps(axes)
        figures.name_ends(axes, ends)


def collapses(folder: Path) -> None:
    """Draw the tables of collapse-limit.md: the share that each change keeps, over the KL."""
    tables: list[list[Share]] = []
    for line in (DOCS / "collapse-limit.md").read_text().splitlines():
        if row := ROW.fullmatch(line):
            name, survivors, forks, *numbers, kl = row.groups()
            if name == UNCHANGED:
                tables.append([])
            control = name == UNCHANGED or name.startswith("rate /")
            values = float(kl), *map(float, numbers)
            tables[-1].append(Share(name, control, int(survivors), int(forks), *values))
    for points, name in zip(tables, COLLAPSES, strict=True):
        with figures.drawn(folder / name, 4.8) as figure:
            autopsy.shares(figure.subplots(), points, autopsy.looks_of(points))


def grid(
    path: Path,
    panels: Mapping[str, Sequence[Fork]],
    columns: int,
    curve: Callable[[Fork], tuple[Any, Any]],
    labels: tuple[str, str],
) -> None:
    """Draw the curve, x and y, of each fork: a panel for each name, row by row, and an agent's
    forks in one colour.
    """
    rows = -(-len(panels) // columns)
    looks = figures.looks(sorted({str(fork.agent) for forks in panels.values() for fork in forks}))
    with figures.drawn(path, 1.8 * rows + 0.9) as figure:
        places = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (name, forks) in zip(places.flat, panels.items(), strict=False):
            for fork in forks:
                axes.plot(*curve(fork), linewidth=1.1, **looks[str(fork.agent)])
            axes.set_title(name, fontsize=PANEL_TITLE_SIZE)
            figures.count_steps(axes)
        for axes in places.flat[len(panels) :]:
            axes.set_axis_off()
        figure.supxlabel(labels[0], fontsize=11.5)
        figure.supylabel(labels[1], fontsize=11.5)


def heights(path: Path, panels: Mapping[str, Sequence[Fork]], columns: int) -> None:
    """Draw the height of each fork over its updates."""
    labels = "updates after the fork", "height (1: before the fork, 0: random play)"
    grid(path, panels, columns, lambda fork: (range(1, UPDATES + 1), height(fork)), labels)


def scratch(path: Path, runs: Sequence[Fork]) -> None:
    """Draw the score of each run from scratch over its steps: a panel for each rate and change."""
    panels = {
        f"{rate}, {change}": [*of_seed.values()]
        for rate, changed in from_scratch.by_change(runs).items()
        for change, of_seed in changed.items()
    }
    labels = "steps", SCORE_LABEL
    grid(path, panels, 3, lambda run: (run.logged["step"], from_scratch.scores(run)), labels)


def collapse_map(path: Path, forks: Sequence[Fork]) -> None:
    """Draw the map: rates from left to right, epochs from top to bottom."""
    panels: dict[str, list[Fork]] = {}
    for fork in sorted(forks, key=_epochs_and_rate):
        epochs, rate = _epochs_and_rate(fork)
        panels.setdefault(f"x {rate / RATE:g}, {counted(epochs, 'epoch')}", []).append(fork)
    heights(path, panels, len({_epochs_and_rate(fork)[1] for fork in forks}))


def _epochs_and_rate(fork: Fork) -> tuple[int, float]:
    return fork.settings["num_epochs"], fork.settings["learning_rate"]


def collapse_changes(path: Path, forks: Sequence[Fork]) -> None:
    """Draw the changes of a plan, in the plan's order."""
    panels: dict[str, list[Fork]] = {name: [] for name in changes("changes", 1)}
    for fork in forks:
        panels[fork.change].append(fork)
    heights(path, {name: made for name, made in panels.items() if made}, CHANGES_IN_A_ROW)


def draw(folder: Path = FIGURES) -> None:
    """Draw every figure."""
    pong(folder / "pong-curve.png")
    collapses(folder)
    made = load(DOCS / "collapse.jsonl")
    collapse_map(folder / "collapse-map.png", [fork for fork in made if fork.plan == "map"])
    of_changes = [fork for fork in made if fork.plan == CHANGES]
    collapse_changes(folder / "collapse-remedies.png", of_changes)
    scratch(folder / "collapse-scratch.png", from_scratch.kept())
