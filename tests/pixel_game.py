"""A small game of pixels with a known best score: catch what falls. Made for tests and sweeps."""

from typing import ClassVar

import gymnasium
import numpy as np

SIZE, CELL = 40, 8
CELLS = SIZE // CELL


class Catch(gymnasium.Env):
    """A ball falls from a random column, one cell a step; the paddle moves left, stays or right.

    The score of a game is 1 if the ball is caught, -1 if it is missed: at random about -0.5,
    at best 1.
    """

    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 1), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self.row, self.paddle = 0, CELLS // 2
        self.column = int(self.np_random.integers(CELLS))
        return self._picture(), {}

    def step(self, action: int):
        self.paddle = int(np.clip(self.paddle + int(action) - 1, 0, CELLS - 1))
        self.row += 1
        over = self.row == CELLS - 1
        reward = (1.0 if self.paddle == self.column else -1.0) if over else 0.0
        return self._picture(), reward, over, False, {}

    def render(self) -> np.ndarray | None:
        return np.repeat(self._picture(), 3, axis=2) if self.render_mode else None

    def _picture(self) -> np.ndarray:
        cells = np.zeros((CELLS, CELLS), np.uint8)
        cells[-1, self.paddle] = 120
        cells[self.row, self.column] = 255
        return np.kron(cells, np.ones((CELL, CELL), np.uint8))[..., np.newaxis]


gymnasium.register("Catch-v0", entry_point=Catch)
