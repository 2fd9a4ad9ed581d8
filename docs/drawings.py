"""The figures of pages that are drawn from results in the repository."""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks import games_store
from benchmarks.collapses import RATE, UPDATES, Fork, load
from benchmarks.games_results import curve_of
from docs.collapse_tables import height
from ppo.autopsy import figure as autopsy
from ppo.autopsy.changes import UNCHANGED
from ppo.autopsy.figure import Share
from ppo.report import published
from ppo.system.streams import counted
from ppo.telemetry import figures
from ppo.telemetry.curves import SCORE_LABEL, compare_each, plot

DOCS = Path(__file__).resolve().parent
FIGURES = DOCS / "figures"
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


def collapse_map(path: Path, forks: Sequence[Fork]) -> None:
    """Draw the height of each fork of the map over its updates: rates from left to right, epochs
    from top to bottom, and an agent's forks in one colour.
    """
    places = [(fork.settings["learning_rate"], fork.settings["num_epochs"]) for fork in forks]
    rates, epochs = (sorted(set(values)) for values in zip(*places, strict=True))
    looks = figures.looks(str(fork.agent) for fork in forks)
    with figures.drawn(path, 1.7 * len(epochs) + 0.9) as figure:
        grid = figure.subplots(len(epochs), len(rates), sharex=True, sharey=True, squeeze=False)
        for fork, (rate, passes) in zip(forks, places, strict=True):
            axes = grid[epochs.index(passes), rates.index(rate)]
            axes.plot(range(1, UPDATES + 1), height(fork), linewidth=1.2, **looks[str(fork.agent)])
        for axes, rate in zip(grid[0], rates, strict=True):
            axes.set_title(f"rate x {rate / RATE:g}")
        for axes, passes in zip(grid[:, 0], epochs, strict=True):
            axes.set_ylabel(counted(passes, "epoch"))
        figure.supxlabel("updates after the fork", fontsize=11.5)
        figure.supylabel("height (1: before the fork, 0: random play)", fontsize=11.5)


def draw(folder: Path = FIGURES) -> None:
    """Draw every figure."""
    pong(folder / "pong-curve.png")
    collapses(folder)
    made = load(DOCS / "collapse.jsonl")
    collapse_map(folder / "collapse-map.png", [fork for fork in made if fork.plan == "map"])
