"""The learning curves of ``benchmarks.games``: each game over steps, and over minutes."""

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import get_args

from benchmarks.games_results import Kind, Result, curve_of
from ppo.telemetry import figures
from ppo.telemetry.curves import Axis, Curve, draw_row, each

ROW_HEIGHT, NAME_HEIGHT = 2.0, 0.36  # of a game, and of a curve's name beside it, in inches


def draw(results: Sequence[Result], path: Path) -> bool:
    """A row for each game: the mean curve of the runs of each kind of settings, as far as all of
    them go. False, and no figure, if no run has a curve.
    """
    drawn = [result for result in results if result.curve]
    if not drawn:
        return False
    games = by_game(drawn)
    # The settings of most games have the first colors.
    common = Counter(name for variants in games.values() for name in variants)
    looks = figures.looks(name for name, _ in common.most_common())
    heights = [max(ROW_HEIGHT, NAME_HEIGHT * len(variants)) for variants in games.values()]
    with figures.drawn(path, sum(heights)) as figure:
        grid = figure.subplots(len(games), 2, sharey="row", squeeze=False, height_ratios=heights)
        for row, (game, variants) in zip(grid, games.items(), strict=True):
            draw_row(row, {axis: each(variants, axis) for axis in get_args(Axis)}, looks)
            row[0].set(title=game, ylabel="score")
    return True


def by_game(runs: Sequence[Result]) -> dict[str, dict[str, list[Curve]]]:
    """The curves of each game's runs, by the name of their kind."""
    games: dict[str, dict[str, list[Curve]]] = {}
    for run in sorted(runs, key=attrgetter("game")):
        of_game = games.setdefault(run.game, {})
        of_game.setdefault(name_of(run.kind), []).append(curve_of(run))
    return games


def name_of(kind: Kind) -> str:
    """The name of a kind in the figure, where precision is named only if it is float32."""
    precision = ", float32" if kind.precision == "float32" else ""
    return f"{kind.settings}{precision}, {kind.total_steps / 1e6:g}M"
