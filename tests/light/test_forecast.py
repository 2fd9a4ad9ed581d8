"""Forecasts, by hand from rows whose arithmetic is easy."""

import pytest

from ppo.preflight.forecast import DIAGNOSED, EVALUATED, forecast
from ppo.preflight.probe import Probe
from ppo.settings import Params


def settings(**changed):
    """Ten iterations of 100 steps."""
    base = {
        "num_envs": 10,
        "num_steps": 10,
        "num_minibatches": 4,
        "total_steps": 1000,
        "diagnostics_interval": 0,
        "log_interval": 200,
    }
    return Params(**(base | changed)).resolved(1, 1, 0.0, "float32")


def row(elapsed: float, *tags: str) -> dict[str, float]:
    """An iteration of 0.5 + 1.5 seconds that ended at ``elapsed``."""
    times = {"time/rollout_seconds": 0.5, "time/update_seconds": 1.5, "time/time_elapsed": elapsed}
    return times | dict.fromkeys(tags, 100.0)


def measured(*rows: dict[str, float]) -> Probe:
    return Probe(
        [*rows],
        num_weights=7,
        num_actions=2,
        peak_memory=900,
        checkpoint_size=50,
        log_size=60 * len(rows),
    )


def test_first_iteration_counts_as_it_was_and_the_others_as_their_mean():
    # 9 iterations of 2 seconds, and of 0.25 between them.
    assert forecast(settings(), measured(row(10), row(12.25), row(14.5))).seconds == 10 + 9 * 2.25


def test_run_of_one_iteration_is_what_was_measured():
    assert forecast(settings(total_steps=100), measured(row(10))).seconds == 10


def test_first_diagnosis_traces_and_the_others_do_not():
    rows = row(10), row(17, DIAGNOSED), row(19), row(22, DIAGNOSED)
    ahead = forecast(settings(diagnostics_interval=300), measured(*rows))
    assert ahead.seconds == 10 + 9 * 2 + 5 + 2 * 1


def test_evaluations_are_those_that_the_interval_makes_due():
    rows = row(10), row(12), row(20, EVALUATED), row(22)
    ahead = forecast(settings(evaluation_interval=250, evaluation_games=10), measured(*rows))
    assert ahead.evaluations == 4 * 6
    assert ahead.seconds == 10 + 9 * 2 + 4 * 6


def test_more_games_than_envs_are_played_in_a_row():
    rows = row(10), row(12), row(20, EVALUATED)
    ahead = forecast(settings(evaluation_interval=1000, evaluation_games=21), measured(*rows))
    assert ahead.evaluations == 3 * 6


def test_evaluation_that_was_not_measured_is_not_made_up():
    ahead = forecast(settings(evaluation_interval=250), measured(row(10), row(12)))
    assert ahead.evaluations is None
    assert ahead.seconds == 10 + 9 * 2


def test_evaluation_that_is_never_due_takes_no_time():
    ahead = forecast(settings(evaluation_interval=2500), measured(row(10), row(12)))
    assert ahead.evaluations == 0


@pytest.mark.parametrize(
    ("changed", "checkpoints"),
    [
        ({}, 3),  # the first, at step 0, the last, and the best
        ({"checkpoint_interval": 400}, 4),
        ({"checkpoint_interval": 100}, 4),
        ({"checkpoint_interval": 100, "checkpoints_kept": 5}, 6),
        ({"checkpoint_interval": 100, "keep_checkpoints_from": 500}, 7),
        ({"checkpoint_interval": 400, "keep_checkpoints_from": 0, "evaluation_interval": 200}, 7),
    ],
)
def test_disk_holds_the_checkpoints_that_are_kept(changed, checkpoints):
    ahead = forecast(settings(**changed), measured(row(10), row(12)))
    assert ahead.checkpoints == 50 * checkpoints


def test_a_guard_that_rolls_back_keeps_a_third_policy_later():
    ahead = forecast(settings(collapse_guard="rollback"), measured(row(10), row(12)))
    assert ahead.checkpoints == 75 * 3


def test_logs_grow_with_the_entries_and_memory_is_the_peak():
    ahead = forecast(settings(), measured(row(10), row(12)))
    assert ahead.logs == 60 * 5
    assert ahead.memory == 900
