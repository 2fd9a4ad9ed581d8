"""A game that is learnt within seconds and unlearnt as fast: one of four actions gives a point."""

from typing import ClassVar

import gymnasium
import numpy as np

STEPS = 8


class Choice(gymnasium.Env):
    """Eight steps. The score is how often action 0 was chosen: at random 2, at best 8."""

    metadata: ClassVar[dict] = {"render_modes": []}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self.count = 0
        return np.ones(2, np.float32), {}

    def step(self, action: int):
        self.count += 1
        return np.ones(2, np.float32), float(action == 0), self.count == STEPS, False, {}


gymnasium.register("Choice-v0", entry_point=Choice)
