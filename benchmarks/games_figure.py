"""The learning curves of ``benchmarks.games``: each game over steps, and over minutes."""

import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import get_args

from benchmarks.games_results import Result, curve_of
from ppo.files.folder import write_whole
from ppo.study.curves import SCORE_LABEL, Axis, Curve, each, panel

WIDTH, ROW_HEIGHT = 13, 3  # of a figure and of a game's row in it, in inches


def draw(results: Sequence[Result], path: Path) -> None:
    """A row for each game: the mean curve of the runs of each kind of settings, as far as all of
    them go; nothing is drawn if no run has a curve.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    games = by_game(results)
    if not games:
        return
    kinds = dict.fromkeys(name for variants in games.values() for name in variants)
    colors = {name: f"C{number}" for number, name in enumerate(kinds)}
    figure = pyplot.figure(figsize=(WIDTH, ROW_HEIGHT * len(games)), layout="constrained")
    grid = figure.subplots(len(games), 2, sharey="row", squeeze=False)
    for row, (game, variants) in zip(grid, games.items(), strict=True):
        for axes, axis in zip(row, get_args(Axis), strict=True):
            panel(axes, axis, each(variants, axis), colors)
        row[0].set(title=game, ylabel=SCORE_LABEL)
    content = io.BytesIO()
    figure.savefig(content, dpi=100, format="png")
    pyplot.close(figure)
    write_whole(path, content.getvalue())


def by_game(results: Sequence[Result]) -> dict[str, dict[str, list[Curve]]]:
    """The curves of each game's runs, by settings, precision and steps."""
    with_curve = [result for result in results if result.curve]
    found: dict[str, dict[str, list[Curve]]] = {}
    for game, runs in groupby(sorted(with_curve, key=lambda run: run.game), lambda run: run.game):
        variants: dict[str, list[Curve]] = {}
        for run in runs:
            name = f"{run.settings}, {run.precision}, {run.total_steps:,} steps"
            variants.setdefault(name, []).append(curve_of(run))
        found[game] = variants
    return found
