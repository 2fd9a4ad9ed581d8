"""ale-py's vectors of emulators: one for training, one with the console's full screen."""

import ctypes
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode

from ppo.envs.episode import Rules
from ppo.envs.foreign import closed_if_it_fails
from ppo.system.signals import Interrupted

SCREEN_SHAPE = (210, 160, 3)

# ale-py builds all emulators of a vector in one call, which takes 0.07 s for each. No other Python
# thread runs meanwhile, so no request to stop is noticed. More than MOST_IN_ONE emulators are
# therefore built in groups.
MOST_IN_ONE, GROUP = 16, 8

Received = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]


class AtariEnvs:
    """A vector of emulators for training; observations are grey, stacked and channels-last."""

    def __init__(self, rules: Rules, num_envs: int, threads: int):
        size = rules.screen_size
        self.env = AtariVectorEnv(
            rules.game,
            num_envs,
            num_threads=min(threads, num_envs),
            frameskip=rules.frame_skip,
            stack_num=rules.frame_stack,
            img_height=size,
            img_width=size,
            **_rule_arguments(rules),
        )
        names = [action.name for action in self.env.ale.get_action_set()]
        self.num_actions = len(names)
        self.action_names = [f"{number}_{name}" for number, name in enumerate(names)]
        self.fire = names.index("FIRE") if "FIRE" in names else None
        self.observation_shape: tuple[int, ...] = (size, size, rules.frame_stack)
        self.dtype: type[np.generic] = np.uint8

    def reset(self, mask: np.ndarray, seeds: np.ndarray | None) -> tuple[np.ndarray, dict]:
        return self.env.reset(seed=seeds, options={"reset_mask": mask})

    def send(self, actions: np.ndarray) -> None:
        self.env.send(actions)

    def receive(self) -> Received:
        """Wait for the step: observations, rewards, terminated, truncated, info."""
        return self.env.recv()

    def to_channels_last(self, raw: np.ndarray, out: np.ndarray) -> None:
        """Turn [n, stack, height, width] into [n, height, width, stack]."""
        for planes, observation in zip(raw, out, strict=True):
            # With one plane both layouts are the same bytes.
            if len(planes) == 1:
                observation[..., 0] = planes[0]
            else:
                cv2.merge(list(planes), observation)

    def close(self) -> None:
        self.env.close()
        # Emulators that still exist when Python exits are reported as leaks.
        del self.env
        # glibc keeps freed memory: 8 MB after an evaluation's emulators.
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
            trim(0)


class GroupedEnvs:
    """Vectors of at most GROUP emulators that step together; the interface is ``AtariEnvs``'s."""

    def __init__(self, rules: Rules, num_envs: int, threads: int, interrupted: Callable[[], bool]):
        """Build the emulators. Raises Interrupted, as ``reset`` does."""
        starts = range(0, num_envs, GROUP)
        self._interrupted, self._parts = interrupted, []
        with closed_if_it_fails(self):
            for start in starts:
                self._raise_if_interrupted()
                self._parts.append(AtariEnvs(rules, min(GROUP, num_envs - start), threads))
        self._columns = [slice(start, start + GROUP) for start in starts]
        example = self._parts[0]
        self.num_actions, self.action_names = example.num_actions, example.action_names
        self.fire = example.fire
        self.observation_shape, self.dtype = example.observation_shape, example.dtype
        self._latest: list[tuple[np.ndarray, dict]] = [(np.empty(0), {})] * len(self._parts)

    def reset(self, mask: np.ndarray, seeds: np.ndarray | None) -> tuple[np.ndarray, dict]:
        """Reset the envs in the mask, with or without seeds. Skip vectors without such an env."""
        used = 0
        for number, (part, columns) in enumerate(zip(self._parts, self._columns, strict=True)):
            count = int(mask[columns].sum())
            if count:
                self._raise_if_interrupted()
                chosen = None if seeds is None else seeds[used : used + count]
                self._latest[number] = part.reset(mask[columns], chosen)
            used += count
        raw, infos = zip(*self._latest, strict=True)
        return np.concatenate(raw), self._merged(infos)

    def send(self, actions: np.ndarray) -> None:
        for part, columns in zip(self._parts, self._columns, strict=True):
            part.send(actions[columns])

    def receive(self) -> Received:
        received = [part.receive() for part in self._parts]
        self._latest = [(observations, info) for observations, *_, info in received]
        *arrays, infos = zip(*received, strict=True)
        observations, rewards, terminated, truncated = map(np.concatenate, arrays)
        return observations, rewards, terminated, truncated, self._merged(infos)

    def to_channels_last(self, raw: np.ndarray, out: np.ndarray) -> None:
        self._parts[0].to_channels_last(raw, out)

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def _raise_if_interrupted(self) -> None:
        if self._interrupted():
            raise Interrupted

    def _merged(self, infos: tuple[dict, ...]) -> dict[str, Any]:
        """Merge the infos. Only vectors in which an episode ended have final observations."""
        names = ("lives", "frame_number", "episode_frame_number")
        finals = {
            columns.start + index: final
            for info, columns in zip(infos, self._columns, strict=True)
            for index, final in enumerate(info.get("final_obs", ()))
        }
        merged = {name: np.concatenate([info[name] for info in infos]) for name in names}
        return {**merged, "final_obs": finals}


def screen(rules: Rules, grey: bool = False) -> AtariVectorEnv:
    """Return an emulator that gives images of the console's own size; the caller closes it. It
    gives every frame in colour; with ``grey``, one grey image a step, not yet scaled.
    """
    height, width, _ = SCREEN_SHAPE
    colour = {"frameskip": 1, "maxpool": False, "grayscale": False}
    return AtariVectorEnv(
        rules.game,
        1,
        num_threads=1,
        stack_num=1,
        img_height=height,
        img_width=width,
        **({"frameskip": rules.frame_skip} if grey else colour),
        **_rule_arguments(rules),
    )


def _rule_arguments(rules: Rules) -> dict[str, Any]:
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
