"""The quantities of evaluations side by side."""

from collections.abc import Mapping, Sequence

from ppo.evaluate.evaluate import Evaluation
from ppo.settings import ResolvedParams


def rows(evaluations: Sequence[Evaluation], params: ResolvedParams) -> list[list[str]]:
    """Return rows of a quantity's name and its value in each evaluation."""
    columns = [_column(evaluation, params) for evaluation in evaluations]
    return [[name, *(column[name] for column in columns)] for name in columns[0]]


def _column(evaluation: Evaluation, params: ResolvedParams) -> Mapping[str, str]:
    low, high = evaluation.interval()
    normalized = evaluation.human_normalized(params)
    human = {} if normalized is None else {"human-normalized score": f"{normalized:.2f}"}
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
        **human,
    }
