"""Bootstrap intervals."""

import numpy as np
import pytest

from ppo.telemetry import intervals


def test_interval_holds_the_mean_and_narrows_with_agreement():
    low, high = intervals.bootstrap(np.array([0.0, 0.2, 0.4, 0.6, 0.8]))
    assert low < 0.4 < high and high - low < 0.8
    assert intervals.bootstrap(np.full(5, 0.3)) == pytest.approx((0.3, 0.3))


def test_one_value_is_shown_without_an_interval():
    assert intervals.shown(np.array([0.52])) == "0.52"
    assert intervals.shown(np.array([0.5, 0.5])) == "0.50 (0.50 to 0.50)"


def test_interval_of_many_means_at_once_is_the_interval_of_each():
    values = np.random.default_rng(0).normal(size=(5, 200))
    low, high = intervals.bootstrap(values)
    assert (low <= values.mean(0)).all() and (values.mean(0) <= high).all()
    assert (low[7], high[7]) == intervals.bootstrap(values[:, 7])
