"""Intervals of means."""

import numpy as np
import pytest

from ppo.telemetry import intervals


def test_interval_holds_the_mean_and_narrows_with_agreement():
    low, high = intervals.of_mean(np.array([0.0, 0.2, 0.4, 0.6, 0.8]))
    assert low < 0.4 < high and high - low < 0.8
    assert intervals.of_mean(np.full(5, 0.3)) == pytest.approx((0.3, 0.3))


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_the_interval_of_few_normal_values_covers_their_mean_in_95_percent(count):
    low, high = intervals.of_mean(np.random.default_rng(1).normal(7, 2, (count, 4000)))
    assert np.mean((low < 7) & (high > 7)) == pytest.approx(0.95, abs=0.01)


def test_the_interval_of_two_values_is_student_s():
    # Their standard error is 1, and the t of one degree of freedom is tan(0.475 pi).
    half = np.tan(0.475 * np.pi)
    assert intervals.score_interval([4.0, 6.0]) == pytest.approx((5 - half, 5 + half), abs=0.001)


def test_ten_values_or_more_are_resampled():
    values = np.append(np.zeros(9), 10.0)  # so skewed that no resample has a mean below 0
    low, high = intervals.of_mean(values)
    assert low == 0 and high > 2


def test_the_interval_of_the_largest_scores_is_finite():
    assert np.isfinite(intervals.score_interval([-1e304, 1e304])).all()


def test_equal_values_are_shown_without_an_interval():
    assert intervals.shown(np.array([0.52])) == "0.52"
    assert intervals.shown(np.full(7, 0.3)) == "0.30"
    assert intervals.shown(np.array([0.5, 0.5, 0.7])) == "0.57 (0.28 to 0.85)"


def test_interval_of_many_means_at_once_is_the_interval_of_each():
    values = np.random.default_rng(0).normal(size=(5, 200))
    low, high = intervals.of_mean(values)
    assert (low <= values.mean(0)).all() and (values.mean(0) <= high).all()
    assert (low[7], high[7]) == pytest.approx(intervals.of_mean(values[:, 7]))
