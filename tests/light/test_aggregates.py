"""Aggregates over games against hand calculations."""

import numpy as np
import pytest

from benchmarks.aggregates import aggregates, interquartile_mean
from benchmarks.games_results import interval_of

# rliable 1.2.0 gives 2.25, 2.0 and 1.5 for these two runs of four games.
TWO_RUNS = [[0.0, 2.0], [1.0, 1.0], [2.0, 4.0], [8.0, 0.0]]


def test_aggregates_of_two_runs_of_four_games_by_hand():
    found = aggregates(TWO_RUNS)
    # The games' means are 1, 1, 3, 4; of all eight, 0 0 and 4 8 are the outer quarters.
    assert found["mean"].value == (1 + 1 + 3 + 4) / 4
    assert found["median"].value == (1 + 3) / 2
    assert found["interquartile mean"].value == (1 + 1 + 2 + 2) / 4


def test_outer_quarters_are_rounded_down_to_whole_runs():
    assert interquartile_mean(np.array([[1.0, 2.0, 9.0]])) == 4
    assert interquartile_mean(np.array([[1.0, 2.0, 3.0, 4.0, 90.0]])) == 3


def test_games_count_alike_however_many_runs_they_have():
    found = aggregates([[0.0, 1.0, 2.0], [5.0]])
    assert found["mean"].value == (1 + 5) / 2
    assert found["median"].value == (1 + 5) / 2
    # 0 1 2 5 5 5 without one at either end.
    assert found["interquartile mean"].value == (1 + 2 + 5 + 5) / 4


def test_an_interval_covers_all_resamples_of_the_runs():
    # One game of two runs: half of all resamples have the mean 1, a quarter each 0 and 2.
    assert aggregates([[0.0, 2.0]])["mean"].interval == (0, 2)
    # The games are not resampled: one without variation leaves the other's.
    low, high = aggregates([[0.0, 2.0], [4.0, 4.0]])["mean"].interval
    assert (low, high) == (2, 3)


def test_where_a_game_has_no_second_run_there_is_no_interval():
    for games in [[1.0], [2.0]], [[1.0], [2.0, 3.0]]:
        assert {found.interval for found in aggregates(games).values()} == {None}


def test_interval_of_runs_has_the_variation_between_runs():
    # Their means are 1 and 3: a standard error of 1, and Student's t of one degree of freedom.
    for runs in [[1.0, 1.0], [3.0, 3.0]], [[0.0, 2.0], [1.0, 5.0]]:
        assert interval_of(runs) == pytest.approx((2 - 12.706, 2 + 12.706))


def test_interval_of_a_single_run_has_the_variation_between_its_games():
    games = np.arange(30.0)
    low, high = interval_of([games])
    # The mean of 30 draws has the deviation sqrt((30^2 - 1) / 12 / 30).
    half = 1.96 * np.sqrt((30**2 - 1) / 12 / 30)
    assert (low, high) == pytest.approx((games.mean() - half, games.mean() + half), abs=0.2)
