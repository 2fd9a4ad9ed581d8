"""The results of a sweep: a table and a figure, the best variant first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from ppo.errors import Refused
from ppo.files.atomic import write_whole
from ppo.files.folder import named
from ppo.sweep.grid import FIGURE, TABLE
from ppo.sweep.one_precision import precisions
from ppo.system import tables
from ppo.system.streams import say, wrapped
from ppo.telemetry import collapse, curves
from ppo.telemetry.curves import Comparison, Curve
from ppo.telemetry.figures import legible

HEAD = ("variant", "runs", "final", "lowest", "highest", "best", "mean", "collapses")
UNKNOWN = ("–",) * 6  # the cells of a variant without results

Row = list[str]


def write(variants: Mapping[str, Sequence[Path]], logdir: Path) -> None:
    """Write ``table.md`` of all variants, and ``figure.png`` of the variants that have a curve, and
    print the table. If none has a curve, raise Refused and write nothing.
    """
    read: dict[str, list[Curve]] = {name: [] for name in variants}
    missing: dict[str, list[str]] = {}
    for name, folders in variants.items():
        for folder in folders:
            try:
                read[name].append(curves.read(folder))
            except Refused as error:
                missing.setdefault(name, []).append(str(error))
    rows, notes = table(read, missing)
    notes = "\n\n".join(filter(None, [notes, precisions(variants)]))
    text = f"{tables.markdown(HEAD, rows.values(), 'lrrrrrrr')}\n{notes}"
    if curves_exist := any(read.values()):
        write_whole(logdir / TABLE, f"{text}\n".encode())
    console = tables.console_of()
    if console.is_terminal:
        tables.show_table(HEAD, list(rows.values()), console, box=None)
        say(f"\n{wrapped(notes, console.width)}\n")
    else:
        say(text)
    if not curves_exist:
        raise Refused("no run has a curve, so nothing is drawn")
    curves.draw({name: read[name] for name in rows}, logdir / FIGURE, named(logdir).name)
    say(f"table: {logdir / TABLE}\nfigure: {logdir / FIGURE}")


def table(
    variants: Mapping[str, Sequence[Curve]], missing: Mapping[str, Sequence[str]] | None = None
) -> tuple[dict[str, Row], str]:
    """Return the cells of HEAD for each variant, the best first, and their meaning as Markdown.
    ``missing`` lists, for each variant, a line for each of its runs without a curve.
    """
    missing = missing or {}
    try:
        results, notes = _results(variants, curves.compare(variants))
    except Refused as error:
        results, notes = {}, f"No results: {error}."
    rows = {}
    for name in dict.fromkeys([*results, *variants]):
        runs, without = len(variants[name]), len(missing.get(name, ()))
        number = f"{runs} of {runs + without}" if without else f"{runs}"
        rows[name] = [legible(name), number, *results.get(name, UNKNOWN)]
    if missing:
        lines = [f"- {legible(line)}" for reasons in missing.values() for line in reasons]
        notes += "\n\n" + "\n".join(["Not every run has a curve:", "", *lines])
    return rows, notes


def _results(
    variants: Mapping[str, Sequence[Curve]], comparisons: Sequence[Comparison]
) -> tuple[dict[str, Row], str]:
    """Return the cells of each variant from the third column on, the best first, and their meaning.
    The best has the highest final score at the steps that all runs have reached.
    """
    start, last = comparisons[0].steps[[0, -1]]
    entries = {
        one.name: [run.scores[run.steps <= last] for run in variants[one.name]]
        for one in comparisons
    }
    everything = np.concatenate([scores for runs in entries.values() for scores in runs])
    fall = collapse.SMALLEST_FALL * collapse.height_of(everything.max(), everything.min())
    results = {}
    for one in sorted(comparisons, key=lambda one: one.mean[-1], reverse=True):
        runs = zip(variants[one.name], entries[one.name], strict=True)
        scores = [(every[run.few :], every) for run, every in runs]  # of 100 games, and all
        best = fmean((whole if len(whole) else every).max() for whole, every in scores)
        falls = sum(collapse.count(whole, fall) for whole, _ in scores)
        final = one.scores[:, -1]
        cells = final.mean(), final.min(), final.max(), best, one.area
        results[one.name] = [*(f"{cell:.2f}" for cell in cells), f"{falls}"]
    return results, (
        f"Scores are means of the last 100 games, up to step {last:,.0f}, which all runs reached. "
        "Final: mean of the runs at that step, between the lowest and the highest. Best: mean of "
        f"the runs' highest scores. Mean: from step {start:,.0f} on, where all runs have a score. "
        f"Collapses: falls of more than {fall:.2f} points below the best since the last collapse. "
        "That is a quarter of the way from the highest score to the lowest, or to 0 if further. "
        "Best and collapses count once 100 games have ended."
    )
