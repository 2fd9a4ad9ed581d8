"""The panel beside a game: what the network sees, does and expects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ppo.replay import drawing
from ppo.replay.drawing import AMBER, BLUE, BRIGHT, DIM, FIELD, fitting, width_of, write
from ppo.replay.timeline import Timeline

WIDTH, HEIGHT = 720, 840
LEFT, RIGHT = 16, 704
INPUTS_TOP, INPUTS_HEIGHT = 214, 168
ACTIONS_TOP, ACTIONS_HEIGHT = 428, 204
MOST_ROWS = 9  # actions in one column; more need two columns
MOST_ACTIONS = 24  # further actions have no room
MOST_CHANNELS = 64  # of an image; further channels have no room
MOST_NUMBERS = 16  # shown of a vector observation
LABEL = 0.72


@dataclass(frozen=True)
class Caption:
    """The part of a panel that never changes."""

    game: str
    policy: str
    actions: Sequence[str]
    inputs: str
    steps: int
    has_lives: bool


class Panel:
    """A panel that shows the newest decision and the rewards so far."""

    def __init__(self, caption: Caption, image: np.ndarray):
        """Draw the panel on ``image``, an empty array [HEIGHT, WIDTH, 3]."""
        self.image = image
        self.timeline = Timeline(LEFT, 688, RIGHT, 84, caption.steps)
        self._bars = _Bars(caption.actions)
        self._step, self._score, self._has_lives = -1, 0.0, caption.has_lives
        self._draw_caption(caption)

    def decide(
        self, observation: np.ndarray, action: int, probabilities: np.ndarray, value: float
    ) -> None:
        """Show a step as the network saw it, what was done, and what the network computed."""
        self._step += 1
        drawing.write_number(self.image, f"{self._step + 1:,}", *self._steps, bold=True)
        text = drawing.number_text(value, ".2f", 7)
        drawing.write_number(self.image, text, RIGHT, 668, 7, 0.85, AMBER, bold=True)
        draw = _draw_inputs if observation.ndim == 3 else _draw_numbers
        draw(self.image, observation)
        self._bars.draw(self.image, probabilities, action)
        self.timeline.value(self.image, self._step, value)

    def skip(self) -> None:
        self._step += 1

    def see(self, reward: float, lives: int) -> None:
        """Show the reward and the lives of one frame of this step."""
        if reward:
            self._score += reward
            self.timeline.reward(self.image, self._step, reward)
        # Without rounding, sums such as 0.3 - 0.2 - 0.1 would differ from 0 in their last bits.
        score = drawing.number_text(round(self._score, 9) + 0.0, ",.10g", 9)
        drawing.write_number(self.image, score, LEFT, 160, 9, 1.35, AMBER, bold=True, align=0)
        if self._has_lives:
            drawing.write_number(self.image, f"{lives}", 330, 160, 2, 1.35, bold=True, align=0)

    def _draw_caption(self, caption: Caption) -> None:
        on = self.image
        size = fitting([caption.game], 1.05, RIGHT - LEFT, bold=True)
        write(on, caption.game, LEFT, 44, size, bold=True)
        write(on, caption.policy, LEFT, 76, fitting([caption.policy], LABEL, RIGHT - LEFT), DIM)
        write(on, "score", LEFT, 116, LABEL, DIM)
        write(on, "step", RIGHT, 116, LABEL, DIM, align=1)
        if caption.has_lives:
            write(on, "lives", 330, 116, LABEL, DIM)
        total = f"of {caption.steps:,}"
        write(on, total, RIGHT, 160, LABEL, DIM, align=1)
        right = RIGHT - width_of(total, LABEL) - 12
        self._steps = right, 160, len(f"{caption.steps:,}"), 1.0
        write(on, f"what the network sees{caption.inputs}", LEFT, 202, LABEL, DIM)
        write(on, "probability of each action", LEFT, 418, LABEL, DIM)
        write(on, "value: the discounted reward that it expects", LEFT, 668, LABEL, DIM)
        self.timeline.draw_frame(on)


class _Bars:
    """The actions by name, each with a bar for its probability."""

    def __init__(self, names: Sequence[str]):
        self._names = names = names[:MOST_ACTIONS]
        columns = 1 if len(names) <= MOST_ROWS else 2
        rows = math.ceil(len(names) / columns)
        self._row = min(36, ACTIONS_HEIGHT // rows)
        self._text = min(LABEL, self._row / 36)
        self._wide = (RIGHT - LEFT - 20 * (columns - 1)) // columns
        self._size = fitting(names, self._text, int(0.42 * self._wide))
        self._label = round(max(width_of(name, self._size, bold=True) for name in names)) + 16
        self._places = [
            (LEFT + n // rows * (self._wide + 20), ACTIONS_TOP + n % rows * self._row)
            for n in range(len(names))
        ]
        self._bar = self._wide - self._label - 4 * width_of("0", self._text) - 6

    def _baseline(self, top: int) -> int:
        return top + round(self._row / 2 + 10.5 * self._text)

    def draw(self, on: np.ndarray, probabilities: np.ndarray, chosen: int) -> None:
        for number, (x, y) in enumerate(self._places):
            taken = number == chosen
            left, right = x + self._label, x + self._label + self._bar
            label, colour = drawing.canvas(self._row, self._label), AMBER if taken else BRIGHT
            write(label, self._names[number], 0, self._baseline(0), self._size, colour, taken)
            on[y : y + self._row, x:left] = label
            filled = left + round(float(probabilities[number]) * (right - left))
            bar = on[y + 4 : y + self._row - 4]
            bar[:, left:right] = FIELD
            bar[:, left:filled] = AMBER if taken else BLUE
            percent = f"{100 * probabilities[number]:.0f}%"
            drawing.write_number(on, percent, x + self._wide, self._baseline(y), 4, self._text)


def _draw_inputs(on: np.ndarray, observation: np.ndarray) -> None:
    """Draw the network's input frames side by side, oldest to newest, each pixel a sharp square."""
    observation = observation[..., -MOST_CHANNELS:]
    count = observation.shape[-1]
    room = (RIGHT - LEFT - 4 * (count - 1)) // count
    height, width = observation.shape[:2]
    scale = min(INPUTS_HEIGHT / height, room / width)
    interpolation = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
    scale = math.floor(scale) if scale >= 1 else scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    gap = min(room, size[0]) + 4
    for number in range(count):
        large = cv2.resize(observation[..., number], size, interpolation=interpolation)
        left = LEFT + number * gap
        on[INPUTS_TOP:, left:][: size[1], : size[0]] = large[..., np.newaxis]


def _draw_numbers(on: np.ndarray, observation: np.ndarray) -> None:
    for n, value in enumerate(observation[:MOST_NUMBERS]):
        text = f"{value:.3f}" if abs(value) < 1000 else f"{value:.2e}"
        x, baseline = LEFT + 150 + 175 * (n % 4), INPUTS_TOP + 34 + 40 * (n // 4)
        drawing.write_number(on, text, x, baseline, 9, 0.85)
