"""Several small vectors of emulators that act as one vector.

ale-py builds all emulators of a vector in one call, 0.07 s for each, during which no other Python
thread runs. Even the thread that waits for a request to stop does not run.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ppo.envs.atari import AtariEnvs
from ppo.system.signals import Interrupted

# Up to MOST_IN_ONE emulators are built in one call, which is short. More are built in groups.
MOST_IN_ONE, GROUP = 16, 8

Received = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]


class GroupedEnvs:
    """Vectors of at most GROUP emulators that step together; the interface is ``AtariEnvs``'s."""

    def __init__(
        self, make: Callable[[int], AtariEnvs], num_envs: int, interrupted: Callable[[], bool]
    ):
        """``make`` builds a vector of so many envs. Raises Interrupted, as every later reset."""
        starts = range(0, num_envs, GROUP)
        self._interrupted, self._parts = interrupted, []
        for start in starts:
            self._raise_if_interrupted()
            self._parts.append(make(min(GROUP, num_envs - start)))
        self._columns = [slice(start, start + GROUP) for start in starts]
        example = self._parts[0]
        self.num_actions, self.action_names = example.num_actions, example.action_names
        self.fire = example.fire
        self.observation_shape, self.dtype = example.observation_shape, example.dtype
        self._latest: list[tuple[np.ndarray, dict]] = [(np.empty(0), {})] * len(self._parts)

    def reset(self, mask: np.ndarray, seeds: np.ndarray | None) -> tuple[np.ndarray, dict]:
        """Reset the envs of the mask, with or without seeds, in the vectors that have any."""
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
        """Wait for the step. Return observations, rewards, terminated, truncated, info."""
        received = [part.receive() for part in self._parts]
        self._latest = [(observations, info) for observations, *_, info in received]
        *arrays, infos = zip(*received, strict=True)
        observations, rewards, terminated, truncated = map(np.concatenate, arrays)
        return observations, rewards, terminated, truncated, self._merged(infos)

    def layout(self, raw: np.ndarray, out: np.ndarray) -> None:
        self._parts[0].layout(raw, out)

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def _raise_if_interrupted(self) -> None:
        if self._interrupted():
            raise Interrupted

    def _merged(self, infos: tuple[dict, ...]) -> dict[str, Any]:
        """Merge the infos. Only vectors in which an episode ended have final observations."""
        names = ("lives", "frame_number", "episode_frame_number")
        merged: dict[str, Any] = {
            name: np.concatenate([info[name] for info in infos]) for name in names
        }
        merged["final_obs"] = {
            columns.start + index: final
            for info, columns in zip(infos, self._columns, strict=True)
            for index, final in enumerate(info.get("final_obs", ()))
        }
        return merged
