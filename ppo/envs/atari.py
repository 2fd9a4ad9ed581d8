"""ale-py's vector of emulators, as training needs it and as the console shows a game."""

import ctypes
from typing import Any

import cv2
import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from ppo.envs.episode import Rules

SCREEN_SHAPE = (210, 160, 3)


class AtariEnvs:
    """A vector of emulators for training; observations are grey, stacked and channels-last."""

    def __init__(
        self, rules: Rules, num_envs: int, threads: int, frame_stack: int, screen_size: int
    ):
        self.env = AtariVectorEnv(
            rules.game,
            num_envs,
            num_threads=threads,
            frameskip=rules.frame_skip,
            stack_num=frame_stack,
            img_height=screen_size,
            img_width=screen_size,
            **_common(rules),
        )
        actions = self.env.ale.get_action_set()
        self.num_actions = len(actions)
        names = [action.name for action in actions]
        self.action_names = [f"{number}_{name}" for number, name in enumerate(names)]
        self.fire = names.index("FIRE") if "FIRE" in names else None
        self.observation_shape: tuple[int, ...] = (screen_size, screen_size, frame_stack)
        self.dtype: type[np.generic] = np.uint8

    def reset(self, mask: np.ndarray, seeds: np.ndarray | None) -> tuple[np.ndarray, dict]:
        return self.env.reset(seed=seeds, options={"reset_mask": mask})

    def send(self, actions: np.ndarray) -> None:
        self.env.send(actions)

    def receive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Wait for the step: observations, rewards, terminated, truncated, info."""
        return self.env.recv()

    def layout(self, raw: np.ndarray, out: np.ndarray) -> None:
        """Turn [n, stack, height, width] into [n, height, width, stack]."""
        for planes, observation in zip(raw, out, strict=True):
            # With one plane both layouts are the same bytes.
            if len(planes) == 1:
                observation[..., 0] = planes[0]
            else:
                cv2.merge(list(planes), observation)

    def close(self) -> None:
        self.env.close()
        # Python reports emulators that still exist when it ends as leaks.
        del self.env
        _trim_heap()


def screen(rules: Rules) -> AtariVectorEnv:
    """Return an emulator whose steps are frames, in colour, SCREEN_SHAPE. The caller closes it."""
    return _unscaled(rules, frameskip=1, maxpool=False, grayscale=False)


def grey_screen(rules: Rules) -> AtariVectorEnv:
    """Return an emulator that gives each step's grey image before scaling. The caller closes it."""
    return _unscaled(rules, frameskip=rules.frame_skip)


def _unscaled(rules: Rules, **how: Any) -> AtariVectorEnv:
    height, width, _ = SCREEN_SHAPE
    return AtariVectorEnv(
        rules.game,
        1,
        num_threads=1,
        stack_num=1,
        img_height=height,
        img_width=width,
        **how,
        **_common(rules),
    )


def _common(rules: Rules) -> dict[str, Any]:
    """Return the rules as arguments of ale-py's vector, for both uses."""
    return {
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "reward_clipping": False,
        "episodic_life": False,
        "repeat_action_probability": rules.sticky_action_probability,
        "noop_max": rules.noop_max,
        "use_fire_reset": rules.fire_on_reset,
        "full_action_space": rules.full_action_space,
        "max_num_frames_per_episode": rules.max_frames_per_game,
    }


def _trim_heap() -> None:
    """Return freed memory to the system; glibc keeps it: 8 MB after an evaluation's emulators."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
