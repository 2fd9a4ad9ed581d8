"""Environments that fail, for the drills: ``ppo.drill.broken_envs:StuckCartPole-v0``."""

import time

import gymnasium
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

BROKEN_AT_STEP = 100


class PoisonedCartPole(CartPoleEnv):
    """CartPole whose rewards are NaN from step BROKEN_AT_STEP of an env."""

    steps_so_far = 0

    def step(self, action: int):  # type: ignore[no-untyped-def, override]
        observation, reward, terminated, truncated, info = super().step(action)
        self.steps_so_far += 1
        bad = self.steps_so_far >= BROKEN_AT_STEP
        return observation, float("nan") if bad else reward, terminated, truncated, info


class StuckCartPole(CartPoleEnv):
    """CartPole that hangs in step BROKEN_AT_STEP of an env."""

    steps_so_far = 0

    def step(self, action: int):  # type: ignore[no-untyped-def, override]
        self.steps_so_far += 1
        if self.steps_so_far == BROKEN_AT_STEP:
            time.sleep(3600)
        return super().step(action)


for name in ("PoisonedCartPole", "StuckCartPole"):
    gymnasium.register(f"{name}-v0", entry_point=f"ppo.drill.broken_envs:{name}")
