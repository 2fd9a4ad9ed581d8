"""Falls of a policy: the sequential test, and what is found in a whole series."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ppo.telemetry import collapse
from ppo.telemetry.collapse import LIMIT, MOST_OF_A_READING, Watch

# These properties fail for a tiny share of all noises, so each run tests the same ones.
STATISTICAL = settings(max_examples=60, deadline=None, derandomize=True)
CLIMB = np.concatenate([np.zeros(12), np.linspace(0, 1, 40), np.ones(40)])


def noisy(levels: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    return levels + np.random.default_rng(seed).normal(0, sigma, len(levels))


def watched(points) -> Watch:
    watch = Watch()
    for reading in points:
        watch = watch.after(float(reading))
    return watch


def alarm(points, watch: Watch = Watch()) -> int | None:  # noqa: B008
    """The number of readings up to the alarm."""
    for number, reading in enumerate(points):
        watch = watch.after(float(reading))
        if watch.alarmed:
            return number
    return None


@pytest.mark.parametrize("size", [1e200, 1e300])
def test_readings_of_any_size_give_evidence_that_is_finite(size):
    points = noisy(CLIMB, 0.02, seed=2)
    healthy = watched(size * points)
    assert healthy.evidence == pytest.approx(watched(points).evidence)
    assert alarm(np.zeros(40), healthy) == alarm(np.zeros(40), watched(points))
    assert watched([size] * 80).evidence == 0


def test_noise_is_the_deviation_around_a_level_that_drifts():
    points = noisy(np.linspace(0, 50, 20_000), 0.7, seed=1)
    assert collapse.noise(points) == pytest.approx(0.7, rel=0.03)
    assert collapse.noise([]) == collapse.noise([3.0]) == 0


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.3))
@STATISTICAL
def test_a_run_that_climbs_and_stays_gives_no_alarm(seed, sigma):
    assert alarm(noisy(np.concatenate([CLIMB, np.ones(400)]), sigma, seed)) is None


@given(st.integers(0, 2**32 - 1))
@STATISTICAL
@example(149803450)
def test_noise_alone_gives_no_alarm(seed):
    assert alarm(np.random.default_rng(seed).normal(0, 1, 500)) is None


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.08), st.floats(-0.5, 0.5))
@STATISTICAL
def test_a_collapse_by_half_is_noticed_within_ten_readings(seed, sigma, level):
    points = noisy(np.concatenate([CLIMB, np.full(30, level)]), sigma, seed)
    noticed = alarm(points)
    assert noticed is not None
    assert 5 <= noticed - len(CLIMB) + 1 <= 12


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.035))
@STATISTICAL
def test_a_collapse_by_a_quarter_is_noticed_if_the_noise_is_small(seed, sigma):
    points = noisy(np.concatenate([CLIMB, np.full(30, 0.7)]), sigma, seed)
    noticed = alarm(points)
    assert noticed is not None
    assert 5 <= noticed - len(CLIMB) + 1 <= 15


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.08), st.floats(-0.5, 0.4), st.integers(0, 8))
@STATISTICAL
def test_a_known_level_is_watched_from_the_first_reading_on(seed, sigma, level, healthy):
    points = noisy(np.concatenate([np.ones(healthy), np.full(20, level)]), sigma, seed)
    noticed = alarm(points, Watch(best=1.0, low=0.0))
    assert noticed is not None
    assert 5 <= noticed - healthy + 1 <= 12


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.5), st.sampled_from([0.0, np.inf]))
@STATISTICAL
def test_a_policy_that_keeps_its_known_level_gives_no_alarm(seed, sigma, low):
    assert alarm(noisy(np.ones(200), sigma, seed), Watch(best=1.0, low=low)) is None


def test_readings_of_other_rollouts_keep_their_level():
    watch = watched(noisy(np.ones(100), 0.1, seed=8))
    scaled = watch.scaled(3.0)
    assert scaled.level == watch.level and scaled.best == watch.best
    assert collapse.noise(scaled.recent) == pytest.approx(3 * collapse.noise(watch.recent))
    assert watch.scaled(1.0) == watch and Watch(best=2.0).scaled(3.0) == Watch(best=2.0)


def test_a_policy_that_collapses_slowly_is_not_at_its_best_long_before_the_alarm():
    before = watched(noisy(CLIMB, 0.01, seed=9))
    assert before.is_at_its_best and not Watch(best=1.0).is_at_its_best
    watch, levels = before, np.linspace(1, 0.5, 200)
    for level in levels[levels > 0.88]:
        watch = watch.after(float(level))
    assert watch.evidence == 0 and not watch.is_at_its_best


def test_no_single_reading_decides():
    before = watched(CLIMB + 0.01 * (np.arange(len(CLIMB)) % 3))
    once = before.after(-1e9)
    assert once.evidence == pytest.approx(MOST_OF_A_READING) and LIMIT / once.evidence >= 4
    assert once.after(1.0).evidence == 0


def test_alarm_does_not_depend_on_the_unit_of_the_points():
    points = noisy(np.concatenate([CLIMB, np.full(30, 0.3)]), 0.05, seed=4)
    assert alarm(points) == alarm(1000 * points)


def test_a_restarted_watch_remembers_what_was_best():
    fallen = watched(np.concatenate([CLIMB, np.zeros(20)]))
    again = fallen.restarted()
    assert not again.alarmed and again.best == fallen.best
    assert alarm([]) is None
    for _ in range(20):
        again = again.after(0.0)
    assert again.alarmed


def test_a_collapse_is_found_with_its_onset_and_depth():
    points = noisy(np.concatenate([CLIMB, np.linspace(1, -0.5, 6)[1:], np.full(20, -0.5)]), 0.01, 2)
    fall = collapse.find(points)
    assert fall.onset == len(CLIMB) - 1
    assert fall.peak == pytest.approx(1, abs=0.03) and fall.low == pytest.approx(0, abs=0.03)
    assert fall.depth == pytest.approx(1.5, abs=0.06)
    assert points[fall.bottom] == pytest.approx(-0.5, abs=0.05)


def test_nothing_is_found_in_a_healthy_run():
    assert collapse.find(noisy(CLIMB, 0.02, 3)) is None
    assert collapse.find([]) is None


def test_a_policy_that_was_good_from_the_first_reading_on_can_collapse_to_nothing():
    points = noisy(np.concatenate([np.ones(40), np.zeros(20)]), 0.01, 5)
    fall = collapse.find(points)
    assert fall.onset == 39
    assert fall.depth == pytest.approx(1, abs=0.03)


def test_the_deepest_of_several_collapses_is_found_with_its_own_onset_and_peak():
    dip, long = np.full(12, 0.4), np.ones(200)
    collapsed = np.concatenate([CLIMB, dip, long, np.zeros(30)])
    fall = collapse.find(noisy(collapsed, 0.02, 6))
    assert abs(fall.onset - (len(collapsed) - 31)) <= 1
    assert fall.depth == pytest.approx(1, abs=0.06)
    higher = np.concatenate([CLIMB, dip, np.linspace(1, 4, 60), np.full(60, 4), np.zeros(30)])
    fall = collapse.find(noisy(higher, 0.02, 6))
    assert abs(fall.onset - (len(higher) - 31)) <= 1
    assert fall.peak == pytest.approx(4, abs=0.05)


def test_a_recovered_collapse_is_separate_from_one_long_after():
    points = noisy(np.concatenate([CLIMB, np.full(12, 0.2), np.ones(100)]), 0.02, 7)
    fall = collapse.find(points)
    assert abs(fall.onset - (len(CLIMB) - 1)) <= 1 and fall.bottom < len(CLIMB) + 12
