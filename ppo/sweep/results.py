"""The results of a sweep: a table and a figure, the best variant first."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from ppo.files.folder import write_whole
from ppo.sweep.grid import FIGURE, TABLE
from ppo.sweep.one_precision import precisions
from ppo.system import tables
from ppo.system.streams import say
from ppo.telemetry import curves
from ppo.telemetry.curves import Comparison, Curve, CurveError
from ppo.telemetry.figures import legible

Variants = Mapping[str, Sequence[Path]]


def write(variants: Variants, logdir: Path) -> None:
    """Write ``table.md`` of all variants, and ``figure.png`` of the variants that have a curve, and
    print what is in the table. If none has a curve, raise CurveError and write nothing.
    """
    read: dict[str, list[Curve]] = {name: [] for name in variants}
    missing: dict[str, list[str]] = {}
    for name, folders in variants.items():
        for folder in folders:
            try:
                read[name].append(curves.read(folder))
            except CurveError as error:
                missing.setdefault(name, []).append(str(error))
    compared = _best_first(read)
    read = {name: read[name] for name in [*compared, *(read.keys() - compared.keys())]}
    text = curves.table(read, missing)
    if precision := precisions(variants):
        text += f"\n{precision}\n"
    console = Console()
    if console.is_terminal and compared:
        _show(compared, console)
    else:
        say(text.rstrip("\n"))
    if not any(read.values()):
        raise CurveError("no run has a curve, so nothing is drawn")
    write_whole(logdir / TABLE, text.encode())
    curves.draw(read, logdir / FIGURE, logdir.name)
    say(f"table: {logdir / TABLE}\nfigure: {logdir / FIGURE}")


def _best_first(read: Mapping[str, Sequence[Curve]]) -> dict[str, Comparison]:
    """Return the variants at the steps that all runs have reached, by their final score; none if
    there are no such steps.
    """
    try:
        compared = curves.compare(read)
    except CurveError:
        return {}
    ranked = sorted(compared, key=lambda one: one.scores[:, -1].mean(), reverse=True)
    return {one.name: one for one in ranked}


def _show(compared: Mapping[str, Comparison], console: Console) -> None:
    rows = []
    for name, one in compared.items():
        final = one.scores[:, -1]
        cells = [len(final), final.mean(), final.min(), final.max(), one.scores.max(1).mean()]
        rows.append([legible(name), str(cells[0]), *(f"{cell:.2f}" for cell in cells[1:])])
    tables.show_table(["variant", "runs", "final", "lowest", "highest", "best"], rows, console)
    step = next(iter(compared.values())).positions[-1]
    say(f"Scores: mean of the last 100 games; final: at step {step:,.0f}, which all runs reached.")
