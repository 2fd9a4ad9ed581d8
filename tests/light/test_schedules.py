"""Schedules and intervals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo.settings.schedules import crossed, next_crossing, scheduled


@given(st.floats(1e-6, 1), st.integers(0, 10**7), st.integers(1, 10**7))
def test_linear_schedule_is_a_pure_function_of_the_step(initial, step, total):
    now = scheduled("linear", initial, step, total)
    assert now == pytest.approx(initial * max(0, total - step) / total)
    assert scheduled("constant", initial, step, total) == initial


@given(st.integers(1, 1000), st.integers(0, 10**6), st.integers(1, 5000))
def test_an_interval_fires_at_or_past_each_multiple(interval, before, length):
    after = before + length
    multiples = [n for n in range(before + 1, after + 1) if n % interval == 0]
    assert crossed(interval, before, after) == bool(multiples)
    assert not crossed(0, before, after)


@given(st.integers(1, 1000), st.integers(0, 10**6), st.integers(1, 5000))
def test_the_next_crossing_ends_the_first_iteration_that_crosses(interval, before, length):
    after = next_crossing(interval, before, length)
    assert (after - before) % length == 0 and crossed(interval, before, after)
    assert not crossed(interval, before, after - length)
