"""Vectors of any Gymnasium environment outside Atari. A step is a frame."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from ppo.envs.catalog import spec
from ppo.envs.episode import Rules


class GenericEnvs:
    """Gymnasium's own vector, with the interface of ``AtariEnvs``."""

    def __init__(self, rules: Rules, num_envs: int):
        self.env = gymnasium.make_vec(
            rules.game,
            num_envs,
            max_episode_steps=_limit(rules),
            vectorization_mode="sync",
            wrappers=[_Bare],
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
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
        """Reset the envs of the mask, with or without seeds."""
        chosen: list[int | None] = [None] * len(mask)
        for index, seed in zip(np.flatnonzero(mask), [] if seeds is None else seeds, strict=False):
            chosen[index] = int(seed)
        observations, _ = self.env.reset(
            seed=chosen,  # type: ignore[arg-type]
            options={"reset_mask": mask},
        )
        self.frames[mask] = 0
        return observations, self._info(np.where(mask, 0, self.frames))

    def send(self, actions: np.ndarray) -> None:
        """Store the actions; ``receive`` makes the step."""
        self.actions = actions

    def receive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Make the step: observations, rewards, terminated, truncated, info."""
        try:
            observations, rewards, terminated, truncated, info = self.env.step(self.actions)
        except SystemExit as error:  # which would end the training as if it were done
            raise RuntimeError("the environment tried to end the process") from error
        self.frames += 1
        return (
            observations,
            rewards,
            terminated,
            truncated,
            info | self._info(np.where(terminated | truncated, 0, self.frames)),
        )

    def layout(self, raw: np.ndarray, out: np.ndarray) -> None:
        """Copy; the observations are channels-last already."""
        out[:] = raw

    def close(self) -> None:
        """Close the environments."""
        self.env.close()

    def _info(self, episode_frames: np.ndarray) -> dict:
        return {
            "lives": np.zeros(len(self.frames), int),
            "frame_number": self.frames.copy(),
            "episode_frame_number": episode_frames,
        }


class _Bare(gymnasium.Wrapper):
    """An environment without its ``info``, which a vector would have to merge with the others', and
    with observations of their own, which it does not change afterwards.
    """

    def reset(self, **arguments: Any) -> tuple[np.ndarray, dict]:
        """Reset the environment."""
        observation, _ = self.env.reset(**arguments)
        return np.array(observation), {}

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict]:
        """Make a step."""
        observation, reward, terminated, truncated, _ = self.env.step(action)
        return np.array(observation), reward, terminated, truncated, {}


def rendering(rules: Rules) -> gymnasium.Env:
    """One such environment that renders pictures. The caller closes it."""
    return gymnasium.make(
        rules.game,
        render_mode="rgb_array",
        max_episode_steps=_limit(rules),
        disable_env_checker=True,
    )


def _limit(rules: Rules) -> int:
    """Steps of an episode at most."""
    return min(rules.max_frames_per_game, spec(rules.game).max_episode_steps or 2**31)
