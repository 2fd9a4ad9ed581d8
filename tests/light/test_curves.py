"""Curves measured by hand calculation."""

import numpy as np
import pytest

from ppo.study import curves
from ppo.study.curves import Comparison, Curve, collapses


def curve(*scores: float) -> Curve:
    return Curve(np.arange(len(scores)) * 100.0, np.array(scores, float))


def test_a_steady_rise_has_no_collapse():
    assert collapses(np.arange(10.0), 3) == []


def test_a_fall_as_deep_as_the_limit_is_none():
    assert collapses(np.array([0, 10, 7, 10.0]), 3) == []


def test_a_fall_ends_when_half_of_it_is_made_up():
    # 10 -> 2 is a fall of 8, over at 6; then from 6 up to 9 and down to 1, a fall of 8 to the end.
    assert collapses(np.array([0, 10, 5, 2, 4, 6, 9, 1, 2.0]), 3) == [8, 8]


def test_a_slow_fall_counts_once():
    assert collapses(np.array([10, 8, 6, 4, 2, 0.0]), 3) == [10]


def test_runs_are_compared_at_the_steps_that_all_have_reached():
    long, short = curve(0, 10, 20, 30), curve(5, 5, 5)
    comparisons = curves.compare({"long": [long], "both": [long, short]})
    assert [comparison.steps[-1] for comparison in comparisons] == [200, 200]
    assert comparisons[0].scores[0, -1] == 20
    assert comparisons[1].mean[-1] == 12.5


def test_a_figure_shows_each_variant_as_far_as_its_own_runs_go():
    long, short = curve(0, 1, 2, 3, 4), curve(0, 10, 20)
    shown = curves.each({"long": [long], "both": [long, short]})
    assert [comparison.name for comparison in shown] == ["long", "both"]
    assert [comparison.steps[-1] for comparison in shown] == [400, 200]


def test_area_is_the_mean_score_on_the_way():
    (comparison,) = curves.compare({"a": [curve(0, 10, 20)]})
    assert comparison.area == pytest.approx(10)


def test_interval_holds_the_mean_and_shrinks_to_it_for_equal_runs():
    scores = np.random.default_rng(0).normal(size=(5, 200))
    low, high = Comparison("a", np.arange(200.0), scores).interval()
    assert (low <= scores.mean(0)).all()
    assert (scores.mean(0) <= high).all()
    low, high = Comparison("a", np.arange(200.0), np.ones((3, 200))).interval()
    assert (low == high).all()
