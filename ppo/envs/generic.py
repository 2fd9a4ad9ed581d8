"""Vectors of any Gymnasium environment outside Atari. A step is a frame."""

from contextlib import ExitStack
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ppo.envs.atari import Received
from ppo.envs.episode import Rules
from ppo.envs.foreign import Boundary, ForeignEnv, closed_if_it_fails, spec


class GenericEnvs:
    """Gymnasium's own vector, with the interface of ``AtariEnvs``."""

    def __init__(self, rules: Rules, num_envs: int):
        self._envs: list[ForeignEnv] = []
        with closed_if_it_fails(self):
            for _ in range(num_envs):
                self._envs.append(environment(rules))
            with Boundary(rules.game, "spaces"):  # which may differ between environments
                self.env = SyncVectorEnv(
                    [lambda env=env: env for env in self._envs],  # type: ignore[misc]
                    autoreset_mode=AutoresetMode.DISABLED,  # ``EnvVector`` resets with a seed
                )
        self.num_actions = int(self.env.single_action_space.n)  # type: ignore[attr-defined]
        self.action_names = [str(number) for number in range(self.num_actions)]
        self.fire: int | None = None
        shape = self.env.single_observation_space.shape
        assert shape is not None
        self.observation_shape: tuple[int, ...] = shape
        self.dtype: type[np.generic] = np.uint8 if len(shape) == 3 else np.float32
        self.frames = np.zeros(num_envs, np.int64)

    def reset(self, mask: np.ndarray, seeds: np.ndarray | None) -> tuple[np.ndarray, dict]:
        chosen = np.full(len(mask), None)
        chosen[mask] = seeds
        observations, _ = self.env.reset(seed=chosen.tolist(), options={"reset_mask": mask})
        self.frames[mask] = 0
        return observations, self._info(self.frames.copy())

    def send(self, actions: np.ndarray) -> None:
        """Store the actions; ``receive`` makes the step."""
        self.actions = actions

    def receive(self) -> Received:
        """Make the step. Return observations, rewards, terminated, truncated, info. The caller must
        reset the envs whose episode ended.
        """
        observations, rewards, terminated, truncated, _ = self.env.step(self.actions)
        self.frames += 1
        info = self._info(np.where(terminated | truncated, 0, self.frames))
        return observations, rewards, terminated, truncated, info | {"final_obs": observations}

    def to_channels_last(self, raw: np.ndarray, out: np.ndarray) -> None:
        out[:] = raw  # which is channels-last already

    def close(self) -> None:
        """Close all environments, even if one of them fails."""
        with ExitStack() as stack:
            for env in self._envs:
                stack.callback(env.close)

    def _info(self, episode_frames: np.ndarray) -> dict:
        return {
            "lives": np.zeros(len(self.frames), int),
            "frame_number": self.frames.copy(),
            "episode_frame_number": episode_frames,
        }


def environment(rules: Rules, **options: Any) -> ForeignEnv:
    """Return an environment, for the caller to close. The lower of ``max_frames_per_game`` and the
    environment's own limit ends its episodes.
    """
    limit, own_limit = rules.max_frames_per_game, spec(rules.game).max_episode_steps or 0
    if own_limit > 0:  # -1 is no limit
        limit = min(limit, own_limit)
    return ForeignEnv(rules.game, max_episode_steps=limit, **options)
