"""The figures of pages that are drawn from results in the repository."""

import re
from pathlib import Path

from benchmarks import games_store
from benchmarks.games_results import curve_of
from ppo.autopsy import figure as autopsy
from ppo.autopsy.changes import UNCHANGED
from ppo.autopsy.figure import Share
from ppo.report import published
from ppo.telemetry import figures
from ppo.telemetry.curves import SCORE_LABEL, compare_each, plot

DOCS = Path(__file__).resolve().parent
FIGURES = DOCS / "figures"
# The figures of the tables of collapse.md, in their order.
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
        ends += published.plot(axes, published.of_game("pong"), comparisons[0].steps[-1])
        axes.set(xlabel="steps", ylabel=SCORE_LABEL)
        figures.count_steps(axes)
        figures.name_ends(axes, ends)


def collapses(folder: Path) -> None:
    """Draw the tables of collapse.md: the share that each change keeps, over the KL."""
    tables: list[list[Share]] = []
    for line in (DOCS / "collapse.md").read_text().splitlines():
        if row := ROW.fullmatch(line):
            name, held, forks, *numbers, kl = row.groups()
            if name == UNCHANGED:
                tables.append([])
            control = name == UNCHANGED or name.startswith("rate /")
            values = float(kl), *map(float, numbers)
            tables[-1].append(Share(name, control, int(held), int(forks), *values))
    for points, name in zip(tables, COLLAPSES, strict=True):
        with figures.drawn(folder / name, 4.8) as figure:
            autopsy.shares(figure.subplots(), points, autopsy.looks_of(points))


def draw(folder: Path = FIGURES) -> None:
    """Draw every figure."""
    pong(folder / "pong-curve.png")
    collapses(folder)
