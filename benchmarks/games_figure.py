"""The learning curves of ``benchmarks.games``: each game over steps, and over minutes."""

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import get_args

from benchmarks.games_results import Result, curve_of
from ppo.telemetry import figures
from ppo.telemetry.curves import SCORE_LABEL, Axis, Curve, draw_panel, each

WIDTH, ROW_HEIGHT, FOOT = 13, 3, 1  # of a figure, of a game's row, of the names, in inches


def draw(results: Sequence[Result], path: Path) -> bool:
    """A row for each game: the mean curve of the runs of each kind of settings, as far as all of
    them go. False, and no figure, if no run has a curve.
    """
    drawn = [result for result in results if result.curve]
    if not drawn:
        return False
    games = by_game(drawn)
    colors = figures.colors(map(str, sorted({run.kind for run in drawn})))
    with figures.drawn(path, WIDTH, ROW_HEIGHT * len(games) + FOOT) as figure:
        grid = figure.subplots(len(games), 2, sharey="row", squeeze=False)
        for row, (game, variants) in zip(grid, games.items(), strict=True):
            for axes, axis in zip(row, get_args(Axis), strict=True):
                draw_panel(axes, axis, each(variants, axis), colors)
                axes.set(title=game)
            row[0].set(ylabel=SCORE_LABEL)
        figures.legend(figure, colors)
    return True


def by_game(runs: Sequence[Result]) -> dict[str, dict[str, list[Curve]]]:
    """The curves of each game's runs, by the name of their kind."""
    games: dict[str, dict[str, list[Curve]]] = {}
    for run in sorted(runs, key=attrgetter("game")):
        of_game = games.setdefault(run.game, {})
        of_game.setdefault(str(run.kind), []).append(curve_of(run))
    return games
