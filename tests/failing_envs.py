"""CartPoles that fail, by the call that fails and what it raises: ``Failing-step-OSError-v0``.

The observations of ``BlindCartPole-v0`` are NaN from step LATER of an env.
"""

import os

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

ERRORS: dict[str, BaseException] = {
    "BrokenPipeError": BrokenPipeError(32, "Broken pipe"),
    "KeyboardInterrupt": KeyboardInterrupt("no key was pressed"),
    "MemoryError": MemoryError("no room"),
    "OSError": OSError(28, "No space left on device"),
    "SystemExit": SystemExit(0),
    "ValueError": ValueError("two lines\nof words"),
}
CALLS = ("construction", "reset", "step", "later-step", "render", "close")
LATER = 100  # the number of an env's step
ONCE = "FAILING_ENVS_ONCE"  # names a file: of all processes only the one that makes it fails


class Failing(CartPoleEnv):
    """CartPole that raises an error in one of its calls."""

    def __init__(self, call: str, error: str, render_mode: str | None = None):
        self.call, self.error, self.steps = call, error, 0
        self._fail("construction")
        super().__init__(render_mode=render_mode)

    def reset(self, seed=None, options=None):
        self._fail("reset")
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self.steps += 1
        self._fail("step")
        if self.steps == LATER:
            self._fail("later-step")
        return super().step(action)

    def render(self):
        self._fail("render")

    def close(self):
        self._fail("close")
        super().close()

    def _fail(self, call: str) -> None:
        if call != self.call:
            return
        if path := os.environ.get(ONCE):
            try:
                open(path, "x").close()
            except FileExistsError:
                return
        raise ERRORS[self.error]


class BlindCartPole(CartPoleEnv):
    steps = 0

    def step(self, action):
        observation, *rest = super().step(action)
        self.steps += 1
        return (np.full_like(observation, np.nan) if self.steps >= LATER else observation, *rest)


gymnasium.register("BlindCartPole-v0", entry_point=BlindCartPole)
for call in CALLS:
    for error in ERRORS:
        gymnasium.register(
            f"Failing-{call}-{error}-v0",
            entry_point=Failing,
            kwargs={"call": call, "error": error},
            max_episode_steps=500,
        )
