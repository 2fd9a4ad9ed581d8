"""The model of what many workers gain."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale_model import Iteration, largest_of, ring_seconds

TYPICAL = Iteration(
    rollout=1.3,
    spread=0.1,
    update=1.9,
    exchanges=16,
    small_exchanges=4,
    megabytes=2.7,
    ms_per_megabyte=1.5,
    ms_per_message=0.2,
)
FREE = replace(TYPICAL, spread=0.0, ms_per_megabyte=0.0, ms_per_message=0.0)


@given(st.integers(1, 1000))
def test_where_nothing_is_lost_workers_add_up(workers):
    assert FREE.gain(workers) == pytest.approx(workers)


@given(st.integers(1, 500), st.floats(0.1, 1000))
def test_what_is_lost_grows_with_the_workers_and_falls_with_the_link(workers, gigabits):
    efficiency = TYPICAL.gain(workers, gigabits) / workers
    assert TYPICAL.gain(workers + 1, gigabits) / (workers + 1) < efficiency <= 1
    if workers > 1:
        assert TYPICAL.gain(workers, 2 * gigabits) > TYPICAL.gain(workers, gigabits)


def test_workers_that_share_cores_gain_nothing_beyond_them():
    assert FREE.gain(2, cores=2) == pytest.approx(2)
    assert FREE.gain(8, cores=2) == pytest.approx(2)


def test_a_ring_of_three_by_hand():
    """Four messages, each of a third of 2.7 MB: at 1 Gbit/s 7.2 ms, 1.35 ms of its own, 0.2 ms."""
    assert ring_seconds(3, 2.7, 1.0, TYPICAL) == pytest.approx(4 * (7.2 + 1.35 + 0.2) / 1000)
    assert ring_seconds(1, 2.7, 1.0, TYPICAL) == 0


@pytest.mark.parametrize("count", [2, 8, 256])
def test_the_largest_of_normal_numbers(count):
    drawn = np.random.default_rng(1).normal(size=(4000, count)).max(1).mean()
    assert largest_of(count) == pytest.approx(drawn, abs=0.04)
