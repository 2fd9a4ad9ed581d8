"""Playing T steps with the current policy, and writing down what the update needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ppo.arrays import aligned_zeros
from ppo.games import Game, GameVector, Transition
from ppo.keys import Purpose, key
from ppo.signals import Interrupted

if TYPE_CHECKING:
    from ppo.model import Act


class NotFinite(Exception):
    """The network gave a number that is none, for ``observations``."""

    def __init__(self, observations: np.ndarray):
        self.observations = observations.copy()
        super().__init__("the network's output is not finite")


@dataclass(frozen=True)
class Rollout:
    """T steps of N games; arrays are [T, N], observations [T, N, ...].

    ``next_values`` is the value of what each step led to, 0 after a termination;
    ``episode_over`` marks where the return ends; ``games`` are the games that ended.
    """

    observations: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray
    rewards: np.ndarray
    next_values: np.ndarray
    episode_over: np.ndarray
    games: list[Game]


class Collector:
    """Plays rollouts; its storage is laid out once and used again by each rollout."""

    def __init__(
        self,
        vectors: list[GameVector],
        act: "Act",
        value: Callable[[np.ndarray], np.ndarray],
        num_steps: int,
        clip_rewards: bool,
        terminal_on_life_loss: bool,
        seed: int,
    ):
        self.vectors, self.act, self.value = vectors, act, value
        self.num_steps, self.seed = num_steps, seed
        self.clip_rewards, self.terminal_on_life_loss = clip_rewards, terminal_on_life_loss
        shape = num_steps, sum(len(vector) for vector in vectors)
        first = vectors[0].observations
        self._observations = aligned_zeros((*shape, *first.shape[1:]), first.dtype)
        self._actions = np.zeros(shape, np.int32)
        self._log_probs = np.zeros(shape, np.float32)
        self._values = np.zeros((num_steps + 1, shape[1]), np.float32)
        self._rewards = np.zeros(shape, np.float32)
        self._next_values = np.zeros(shape, np.float32)
        self._episode_over = np.zeros(shape, bool)

    def collect(self, iteration: int, interrupted: Callable[[], bool] = lambda: False) -> Rollout:
        """Rollout number ``iteration``, which keys its random numbers.

        While one vector's games move, the network acts for the next vector. Raises Interrupted
        as soon as ``interrupted`` says so.
        """
        games: list[Game] = []
        for t in range(self.num_steps):
            for part, vector in enumerate(self.vectors):
                if t:
                    games += self._receive(t - 1, vector)
                if interrupted():
                    raise Interrupted
                self._send(t, vector, key(self.seed, Purpose.ACTION, iteration, t, part))
        for vector in self.vectors:
            games += self._receive(self.num_steps - 1, vector)
            self._values[-1, _columns(vector)] = self.value(vector.observations)
        return Rollout(
            self._observations,
            self._actions,
            self._log_probs,
            self._values[:-1],
            self._rewards,
            np.where(self._episode_over, self._next_values, self._values[1:]),
            self._episode_over,
            games,
        )

    def _send(self, t: int, vector: GameVector, action_key: np.ndarray) -> None:
        columns = _columns(vector)
        actions, log_probs, values = self.act(vector.observations, action_key)
        if not (np.isfinite(log_probs).all() and np.isfinite(values).all()):
            raise NotFinite(vector.observations)
        vector.send(actions)
        self._observations[t, columns] = vector.observations
        self._actions[t, columns] = actions
        self._log_probs[t, columns] = log_probs
        self._values[t, columns] = values

    def _receive(self, t: int, vector: GameVector) -> list[Game]:
        step = vector.receive()
        columns = _columns(vector)
        over = step.terminated | step.truncated
        if self.terminal_on_life_loss:
            over = over | step.life_lost
        self._rewards[t, columns] = np.sign(step.rewards) if self.clip_rewards else step.rewards
        self._episode_over[t, columns] = over
        self._next_values[t, columns] = self._values_at_ends(step)
        return step.finished

    def _values_at_ends(self, step: Transition) -> np.ndarray:
        """0, save after a time limit: there the game would have gone on."""
        values = np.zeros(len(step.rewards), np.float32)
        places = np.flatnonzero(step.truncated)
        if len(places):
            finals = np.stack([step.final_observations[int(place)] for place in places])
            values[places] = self.value(finals)
        return values


def _columns(vector: GameVector) -> slice:
    return slice(vector.places.start, vector.places.stop)
