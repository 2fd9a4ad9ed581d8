"""The learning curves of ``benchmarks.games``: each game over steps, and over minutes."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import get_args

from benchmarks.games_results import Result, curve_of
from ppo.study import figures
from ppo.study.curves import SCORE_LABEL, Axis, Curve, draw_panel, each

WIDTH, ROW_HEIGHT, FOOT = 13, 3, 1  # of a figure, of a game's row, of the names, in inches


def draw(results: Sequence[Result], path: Path) -> bool:
    """A row for each game: the mean curve of the runs of each kind of settings, as far as all of
    them go. False, and no figure, if no run has a curve.
    """
    kinds, games = by_game(results)
    if not games:
        return False
    colors = figures.colors(kinds)
    with figures.drawn(path, WIDTH, ROW_HEIGHT * len(games) + FOOT) as figure:
        grid = figure.subplots(len(games), 2, sharey="row", squeeze=False)
        for row, (game, variants) in zip(grid, games.items(), strict=True):
            for axes, axis in zip(row, get_args(Axis), strict=True):
                draw_panel(axes, axis, each(variants, axis), colors)
                axes.set(title=game)
            row[0].set(ylabel=SCORE_LABEL)
        figures.legend(figure, colors)
    return True


def by_game(results: Sequence[Result]) -> tuple[list[str], dict[str, dict[str, list[Curve]]]]:
    """The kinds of settings, in the order of the tables; and the curves of each game's runs, by
    them.
    """
    with_curve = [result for result in results if result.curve]
    kinds = dict.fromkeys(
        _kind(run)
        for run in sorted(
            with_curve, key=lambda run: (run.total_steps, run.settings, run.precision)
        )
    )
    games: dict[str, dict[str, list[Curve]]] = {}
    for game, runs in groupby(sorted(with_curve, key=lambda run: run.game), lambda run: run.game):
        of_game = games.setdefault(game, {})
        for run in runs:
            of_game.setdefault(_kind(run), []).append(curve_of(run))
    return [*kinds], games


def _kind(run: Result) -> str:
    return f"{run.settings}, {run.precision}, {run.total_steps:,} steps"
