"""What a panel draws, without an emulator or a network."""

import cv2
import numpy as np
import pytest

from ppo.replay.drawing import (
    AMBER,
    BACKGROUND,
    GREEN,
    RED,
    canvas,
    number_text,
    width_of,
    write_number,
)
from ppo.replay.panel import HEIGHT, INPUTS_TOP, LEFT, WIDTH, Caption, Panel
from ppo.replay.timeline import LABELS, TICKS, Timeline

NAMES = ["NOOP", "FIRE", "DOWNRIGHTFIRE"]


def line(steps: int) -> tuple[Timeline, np.ndarray]:
    on = canvas(300, 500)
    made = Timeline(10, 60, 490, 100, steps)
    made.draw_frame(on)
    return made, on


def count(on: np.ndarray, colour: tuple) -> int:
    return int((on == np.array(colour, np.uint8)).all(-1).sum())


@pytest.mark.parametrize("steps", [7, 394, 30_000])
def test_every_reward_has_a_tick_in_a_game_of_any_length(steps: int):
    made, on = line(steps)
    rng, width = np.random.default_rng(0), 480 - LABELS
    for step in {0, *np.flatnonzero(rng.random(steps) < 0.1), steps - 1}:
        for reward, colour in ((2.0, GREEN), (-3.0, RED)):
            made.reward(on, int(step), reward)
            left = 10 + LABELS + min(step * width // steps, width - 3)
            ticks = (on[:, left : left + 3] == np.array(colour, np.uint8)).all(-1)
            assert ticks.any(0).all(), (step, reward)


@pytest.mark.parametrize(("reward", "seen", "unseen"), [(2.0, GREEN, RED), (-2.0, RED, GREEN)])
@pytest.mark.parametrize("step", [0, 50, 99])
def test_each_reward_is_a_tick_at_its_step(step: int, reward: float, seen: tuple, unseen: tuple):
    made, on = line(100)
    assert not count(on, seen)
    made.reward(on, step, reward)
    assert count(on, seen) > 20 and not count(on, unseen)
    columns = np.flatnonzero((on == np.array(seen, np.uint8)).all(-1).any(0))
    left = 10 + LABELS + step * (480 - LABELS) // 100
    assert abs(int(columns[0]) - left) <= 3 and len(columns) <= 4


def rows_of(on: np.ndarray, colour: tuple) -> np.ndarray:
    return np.flatnonzero((on == np.array(colour, np.uint8)).all(-1).any(1))


def test_higher_values_are_drawn_higher():
    made, on = line(100)
    rows = []
    for step, value in enumerate([0.1, 0.5, 0.9]):
        made.value(on, step, value)
        rows.append(rows_of(on, AMBER).mean())  # the dot at the newest
    assert 60 < rows[2] < rows[1] < rows[0] < 160


def test_rewards_are_above_the_line_and_losses_below_it():
    made, on = line(100)
    made.reward(on, 10, 1.0)
    made.reward(on, 50, -1.0)
    middle = 60 + 100 + 6 + TICKS // 2
    assert 60 + 100 < rows_of(on, GREEN)[-1] < middle < rows_of(on, RED)[0]


def test_the_axis_of_values_only_grows():
    made, on = line(100)
    limits = []
    for step, value in enumerate([0.5, -0.3, 7.0, 0.1, -30.0, 2.0]):
        made.value(on, step, value)
        limits.append((made._low, made._high))
        assert made._low <= value <= made._high
    assert limits == [(0, 1), (-0.5, 1), (-0.5, 10), (-0.5, 10), (-50, 10), (-50, 10)]


def test_memory_depends_on_the_columns_however_long_the_game():
    made, on = line(1_000_000)
    sizes = [array.nbytes for array in vars(made).values() if isinstance(array, np.ndarray)]
    for step in range(0, 1_000_000, 5000):
        made.value(on, step, step / 1e6)
    after = [array.nbytes for array in vars(made).values() if isinstance(array, np.ndarray)]
    assert sizes == after


@pytest.mark.parametrize("right", [1, 0])
def test_a_number_stays_within_its_cells_and_leaves_nothing_behind(right: int):
    on, empty = canvas(60, 300), canvas(60, 300)
    for text in ("-1,234", "123456789", "88", "", "7"):
        write_number(on, text, 150, 40, 6, 1.0, align=right)
    drawn = np.flatnonzero((on != empty).any((0, 2)))
    cell = max(width_of(digit, 1.0) for digit in "0123456789")
    place = (150 - cell, 150) if right else (150, 150 + cell)
    assert place[0] <= drawn[0] and drawn[-1] < place[1]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (1234.5, ",.10g", "1,234.5"),
        (12345678, ",.10g", "12345678"),
        (-1234567.89, ".2f", "-1234568"),
        (5.5511151e-17, ",.10g", "5.55e-17"),
        (123456789012, ",.10g", "1.23e+11"),
    ],
)
def test_a_number_is_never_cut_in_its_digits(value, form, text):
    assert number_text(value, form, 8) == text


def panel(actions=NAMES, lives: bool = True) -> Panel:
    caption = Caption("pong", "sampled policy of step 7", actions, "", 50, lives)
    return Panel(caption, canvas(HEIGHT, WIDTH))


def decide(shown: Panel, observation: np.ndarray, chosen: int = 1) -> None:
    shown.decide(observation, chosen, np.array([0.25, 0.5, 0.25]), 0.5)


def test_the_network_s_own_images_are_shown_oldest_to_newest_pixel_by_pixel():
    pictures = np.random.default_rng(0).integers(256, size=(84, 84, 4), dtype=np.uint8)
    shown = panel()
    decide(shown, pictures)
    for number in range(4):
        left = LEFT + number * 172
        field = shown.image[INPUTS_TOP : INPUTS_TOP + 168, left : left + 168]
        large = np.kron(pictures[..., number], np.ones((2, 2), np.uint8))
        np.testing.assert_array_equal(field, np.repeat(large[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize(
    "shape", [(84, 84, 1), (84, 84, 16), (210, 160, 3), (36, 36, 2), (4,), (40,)]
)
def test_observations_of_every_shape_have_room(shape: tuple[int, ...]):
    shown = panel()
    empty = shown.image.copy()
    high = 255 if len(shape) == 3 else 1
    decide(shown, np.full(shape, high, np.uint8 if len(shape) == 3 else np.float32))
    changed = np.argwhere((shown.image != empty).any(-1))
    inputs = changed[(changed[:, 0] > 205) & (changed[:, 0] < 395)]
    assert len(inputs) and inputs[:, 1].max() < WIDTH - 8


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_only_the_chosen_action_is_marked(chosen: int):
    shown = panel()
    for before in (1, chosen):
        decide(shown, np.zeros((84, 84, 4), np.uint8), before)
    bars = shown.image[428:632, :640]
    rows = np.flatnonzero((bars == np.array(AMBER, np.uint8)).all(-1).any(1))
    assert 36 * chosen <= rows[0] and rows[-1] < 36 * (chosen + 1)


@pytest.mark.parametrize("number", [2, 9, 10, 18, 100])
def test_any_number_of_actions_has_room(number: int):
    shown = panel([f"action {n}" for n in range(number)])
    probabilities = np.full(number, 1 / number)
    shown.decide(np.zeros((84, 84, 4), np.uint8), number - 1, probabilities, 0.0)
    below = shown.image[634:650]
    assert (below == np.array(BACKGROUND, np.uint8)).all()


def test_fixed_parts_do_not_change_during_the_game():
    shown = panel()
    decide(shown, np.zeros((84, 84, 4), np.uint8))
    shown.see(0.0, 3)
    first = shown.image[:125].copy()
    for step in range(49):
        decide(shown, np.full((84, 84, 4), step, np.uint8))
        shown.see(10.0, 2)
    np.testing.assert_array_equal(shown.image[:125], first)  # names, titles
    ticks = (shown.image[688 + 84 :] == np.array(GREEN, np.uint8)).all(-1).any(0)
    assert ticks.sum() == 49 * 3  # each step's reward


def test_the_score_is_the_sum_of_the_rewards(monkeypatch):
    calls = []
    write = lambda on, text, x, *_, **__: calls.append((x, text))  # noqa: E731
    monkeypatch.setattr("ppo.replay.drawing.write_number", write)
    shown = panel()
    for reward in (3.0, 0.0, -1.5):
        shown.see(reward, 3)
    assert [text for x, text in calls if x == LEFT] == ["3", "3", "1.5"]


def test_lives_are_shown_only_where_the_game_has_them():
    with_lives, without = panel(), panel(lives=False)
    for shown in (with_lives, without):
        decide(shown, np.zeros((84, 84, 4), np.uint8))
        shown.see(1.0, 3)
    different = cv2.absdiff(with_lives.image, without.image).any(-1)
    rows, columns = np.nonzero(different)
    assert {rows.min() // 100, rows.max() // 100} == {1} and columns.min() > 300
