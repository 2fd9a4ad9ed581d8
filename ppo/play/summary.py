"""Evaluations side by side: a table on a terminal, tab-separated lines anywhere else."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from ppo.play.evaluate import Evaluation
from ppo.settings import ResolvedParams

Rows = list[tuple[str, list[str]]]


def rows(evaluations: Sequence[Evaluation], params: ResolvedParams) -> Rows:
    """The name of each quantity, and its value in each evaluation."""
    columns = [_column(evaluation, params) for evaluation in evaluations]
    return [(name, [column[name] for column in columns]) for name in columns[0]]


def show(head: Sequence[str], body: Rows, console: Console) -> None:
    """Print rows under a head: on a terminal a table, legible at 80 columns."""
    if not console.is_terminal:
        for line in [head, *([name, *cells] for name, cells in body)]:
            print("\t".join(line), file=console.file)  # rich would replace the tabs
        return
    table = Table(head[0])
    for name in head[1:]:
        table.add_column(name, justify="right")
    for name, cells in body:
        table.add_row(name, *cells)
    console.print(table)


def _column(evaluation: Evaluation, params: ResolvedParams) -> Mapping[str, str]:
    low, high = evaluation.interval()
    normalized = evaluation.human_normalized(params)
    scores = evaluation.scores
    return {
        "games": str(len(scores)),
        "mean score": f"{evaluation.mean:.2f}",
        "95 percent interval, low": f"{low:.2f}",
        "95 percent interval, high": f"{high:.2f}",
        "median score": f"{evaluation.median:.10g}",
        "best score": f"{scores.max():.10g}",
        "worst score": f"{scores.min():.10g}",
        "mean length in steps": f"{evaluation.mean_steps:.0f}",
        "ended by the time limit": f"{evaluation.time_limited} of {len(scores)}",
        "human-normalized score": "-" if normalized is None else f"{normalized:.2f}",
    }
