"""The speed of a run, and the time that its rest takes."""

from contextlib import suppress
from types import SimpleNamespace

import pytest

from ppo.runs.terminal import Pace, Speed


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pace_of(clock: Clock, total: int = 1_000_000, interval: int = 0) -> Pace:
    params = SimpleNamespace(
        end_from=lambda _: total, evaluation_interval=interval, steps_per_iteration=100
    )
    return Pace(params, clock)


def speed_of(*ends: tuple[float, int]) -> Speed | None:
    """The speed after iterations that end at these times and steps."""
    clock = Clock()
    pace = pace_of(clock)
    for clock.now, step in ends:
        pace.mark(step)
    return pace.speed(ends[-1][1])


def test_the_first_iteration_which_compiles_does_not_count():
    assert speed_of((30.0, 100)) is None
    assert speed_of((30.0, 100), (31.0, 200), (34.0, 300)) == Speed(50.0, 999_700 / 50)


def test_the_speed_is_the_speed_of_the_last_minute():
    slow = [(float(t), 10 * t) for t in range(0, 1000, 5)]
    fast = [(1000.0 + t, 10_000 + 100 * t) for t in range(0, 61, 5)]
    assert speed_of(*slow, *fast).steps_per_second == 100


def test_an_iteration_of_more_than_a_minute_has_a_speed_too():
    assert speed_of((70.0, 100), (140.0, 200), (210.0, 270)) == Speed(1.0, 999_730)


def test_many_short_iterations_have_a_speed_too():
    speed = speed_of(*((n / 100, n) for n in range(60_000)))
    assert speed.steps_per_second == pytest.approx(100, abs=1)


def test_an_iteration_evaluates_once_even_if_several_evaluations_were_due():
    clock = Clock()
    pace = pace_of(clock, total=1000, interval=1)
    for clock.now, step in ((1.0, 100), (2.0, 200), (3.0, 300)):
        pace.mark(step)
    with pace.evaluation():
        clock.now = 5.0
    assert pace.speed(300) == Speed(100, 7.0 + 7 * 2.0)


def test_evaluations_count_by_themselves():
    clock = Clock()
    pace = pace_of(clock, total=1000, interval=400)
    for clock.now, step in ((1.0, 100), (2.0, 200), (3.0, 300)):
        pace.mark(step)
    assert pace.speed(300) == Speed(100, 7.0)  # how long an evaluation takes is not known yet
    clock.now = 4.0
    pace.mark(400)
    with pace.evaluation():
        clock.now = 24.0
    assert pace.speed(400) == Speed(100, 6.0 + 20.0)
    clock.now = 25.0
    pace.mark(500)
    assert pace.speed(500) == Speed(100, 5.0 + 20.0)
    with suppress(KeyboardInterrupt), pace.evaluation():
        clock.now = 35.0
        raise KeyboardInterrupt
    assert pace.speed(900).seconds_left == pytest.approx(1.0)


def test_nothing_is_left_behind_the_end():
    clock = Clock()
    pace = pace_of(clock, total=1000)
    for clock.now, step in ((1.0, 500), (2.0, 1000), (3.0, 1500)):
        pace.mark(step)
    assert pace.speed(1500).seconds_left == 0
