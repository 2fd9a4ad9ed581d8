"""The learning curves of ``benchmarks.games``, game by game, beside published ones."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from benchmarks.games_results import DEFAULTS, Result, curve_of, words
from ppo.report import published
from ppo.telemetry import figures
from ppo.telemetry.curves import SCORE_LABEL, compare_each, plot

COLUMNS, ROW_HEIGHT = 2, 2.3  # of panels; inches


def draw(results: Sequence[Result], path: Path) -> bool:
    """Draw a panel for each game: the mean curve of the default settings, and of the settings that
    have the most runs, in either precision. False, and no figure, if no run has a curve.
    """
    with_curve = [result for result in results if result.curve]
    if not with_curve:
        return False
    kind = Counter(result.kind for result in with_curve).most_common(1)[0][0]
    names = list(dict.fromkeys([DEFAULTS, kind.settings]))
    shown = {(name, kind.total_steps) for name in names}
    alike = [run for run in with_curve if (run.settings, run.total_steps) in shown]
    drawn = sorted(alike, key=attrgetter("game"))
    games = {game: list(runs) for game, runs in groupby(drawn, attrgetter("game"))}
    looks = figures.looks(names)
    rows = -(-len(games) // COLUMNS)
    with figures.drawn(path, ROW_HEIGHT * rows) as figure:
        grid = figure.subplots(rows, COLUMNS, squeeze=False).flat
        for (game, runs), axes in zip(games.items(), grid, strict=False):
            comparisons = compare_each(
                {name: [curve_of(run) for run in runs if run.settings == name] for name in names}
            )
            ends = plot(axes, comparisons, looks)
            ends += published.plot(axes, published.curves(runs[0].rom), kind.total_steps)
            axes.set_title(words(game))
            axes.yaxis.set_major_formatter("{x:,.10g}")
            figures.count_steps(axes)
            figures.name_ends(axes, ends)
        for axes in list(grid):  # without a game
            axes.set_axis_off()
        figure.supxlabel("steps", fontsize="medium")
        figure.supylabel(SCORE_LABEL, fontsize="medium")
    return True
