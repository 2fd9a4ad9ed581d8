"""Time, memory and disk of a run, forecast from its first iterations."""

from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from ppo.preflight.probe import Probe
from ppo.settings import ResolvedParams
from ppo.telemetry.progress import Row
from ppo.telemetry.scalars import TIME

DIAGNOSED, EVALUATED = "trunk/value_share", "eval/mean_ep_length"


@dataclass(frozen=True)
class Forecast:
    """What a run will take; sizes are in bytes."""

    seconds: float
    evaluations: float | None  # part of the seconds; None if the evaluation was not measured
    memory: int  # at most
    checkpoints: int  # at its end, as the logs
    logs: int


def forecast(params: ResolvedParams, measured: Probe) -> Forecast:
    """Forecast a run from measurements of one or more iterations.

    The first iteration and the first diagnosis trace their graphs and count as measured. The others
    are assumed to take the mean of the measured ones. Each evaluation is assumed to take as long as
    the first.
    """
    rows, iterations = measured.rows, params.num_iterations
    later = rows[1:] or rows
    # Each row, and the seconds of its iteration that were neither rollout nor update.
    rest = [(row, row[TIME] - before[TIME] - _iterating(row)) for before, row in pairwise(rows)]
    plain = [s for row, s in rest if DIAGNOSED not in row and EVALUATED not in row]
    own = fmean(plain) if plain else 0.0
    seconds = rows[0][TIME]
    seconds += (iterations - 1) * (own + fmean(map(_iterating, later)))
    diagnosed = [s - own for row, s in rest if DIAGNOSED in row and EVALUATED not in row]
    diagnoses = times(params.diagnostics_interval, params)
    if diagnosed and diagnoses:
        seconds += diagnosed[0] + (diagnoses - 1) * fmean(diagnosed[1:] or [0.0])
    evaluated = [s - own for row, s in rest if EVALUATED in row]
    evaluations: float | None = 0.0
    if count := times(params.evaluation_interval, params):
        in_a_row = -(-params.evaluation_games // params.num_envs)
        evaluations = evaluated[0] * in_a_row * count if evaluated else None
    # If the guard rolls back, it keeps two policies later on, beside the present one, and one at
    # the beginning.
    growth = 3 / 2 if params.collapse_guard == "rollback" else 1
    return Forecast(
        seconds=seconds + (evaluations or 0.0),
        evaluations=evaluations,
        memory=measured.peak_memory,
        checkpoints=round(measured.checkpoint_size * growth) * _checkpoints(params),
        logs=measured.log_size // len(rows) * times(params.log_interval, params),
    )


def times(interval: int, params: ResolvedParams) -> int:
    """Return how many iterations of a run reach a multiple of an interval; 0 if none does."""
    return min(params.whole_steps // interval, params.num_iterations) if interval else 0


def _checkpoints(params: ResolvedParams) -> int:
    """Return the number of checkpoints at the end: the newest, the permanent ones, and the best."""
    batch, last = params.batch_size, params.whole_steps
    intervals = [params.checkpoint_interval, params.evaluation_interval]  # either saves
    saved = {0, last}
    for interval in (max(interval, batch) for interval in intervals if interval):
        saved |= {-(-due // batch) * batch for due in range(interval, last, interval)}
    kept = {*sorted(saved)[-params.checkpoints_kept :]}
    return len(kept | {step for step in saved if step in params.checkpoints_always_kept}) + 1


def _iterating(row: Row) -> float:
    return row["time/rollout_seconds"] + row["time/update_seconds"]
