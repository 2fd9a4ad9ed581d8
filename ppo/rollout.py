"""Play T steps with the current policy, and record what the update needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ppo.envs.episode import Episode, Transition
from ppo.envs.vector import EnvVector
from ppo.settings import ResolvedParams
from ppo.system.arrays import aligned_zeros
from ppo.system.keys import Purpose, key
from ppo.system.signals import Interrupted

if TYPE_CHECKING:
    from ppo.policy import Policy


@dataclass(frozen=True)
class Rollout:
    """T steps of N envs; arrays are [T, N], observations [T, N, ...]. They are valid until the next
    ``collect``; ``replace_forced`` overwrites some.

    ``next_values`` is V' of ``ppo.advantages.gae``. With ``terminal_on_life_loss`` it is also 0
    after a lost life. ``episode_over`` marks where the return ends. ``episodes`` are the episodes
    that ended; ``end_rows`` has the row of each end. ``points`` is the unclipped sum of all
    rewards. ``forced`` marks the steps whose action the policy did not choose. ``stand_ins`` has,
    for each forced step, the index in [B] of the sample that replaces it in learning.
    """

    observations: np.ndarray
    actions: np.ndarray
    log_probs: np.ndarray
    values: np.ndarray
    rewards: np.ndarray
    next_values: np.ndarray
    episode_over: np.ndarray
    episodes: list[Episode]
    end_rows: list[int]
    points: float
    forced: np.ndarray
    stand_ins: np.ndarray

    @property
    def samples(self) -> tuple[np.ndarray, ...]:
        """Observations, actions, log-probabilities and values, as a batch has them."""
        return self.observations, self.actions, self.log_probs, self.values


class Collector:
    """Plays rollouts; its storage is allocated once and reused by each rollout."""

    def __init__(
        self, vectors: list[EnvVector], policy: "Policy", params: ResolvedParams, worker: int = 0
    ):
        """``worker`` is this worker's index among all workers of the run."""
        self.vectors, self.policy, self.params, self.worker = vectors, policy, params, worker
        num_steps, num_envs = params.num_steps, sum(len(vector) for vector in vectors)
        shape, example = (num_steps, num_envs), vectors[0].observations
        self._observations = aligned_zeros((*shape, *example.shape[1:]), example.dtype)
        self._actions = np.zeros(shape, np.int32)
        self._log_probs = np.zeros(shape, np.float32)
        self._values = np.zeros((num_steps + 1, num_envs), np.float32)
        self._rewards = np.zeros(shape, np.float32)
        self._end_values = np.zeros(shape, np.float32)
        self._episode_over = np.zeros(shape, bool)
        self._forced = np.zeros(shape, bool)
        self._points = 0.0
        self.clipped = False  # whether clipping has changed a reward
        self.when_clipped: Callable[[], None] = lambda: None  # called once, at the first change

    def collect(self, iteration: int, interrupted: Callable[[], bool] = lambda: False) -> Rollout:
        """Collect rollout number ``iteration``, which keys its random numbers.

        With two vectors, one steps while the network acts for the other. Raises NotFinite,
        EnvironmentFailed, and Interrupted as soon as ``interrupted`` returns True.
        """
        self.policy.prepare()
        ended: list[tuple[int, Episode]] = []
        self._points = 0.0
        last = self.params.num_steps - 1
        for t in range(self.params.num_steps):
            for index, vector in enumerate(self.vectors):
                if t:
                    ended += self._receive(t - 1, vector)
                if interrupted():
                    raise Interrupted
                # Each vector has its own number, even if workers have different numbers of vectors.
                number = self.worker + index * self.params.workers
                self._act(t, vector, key(self.params.seed, Purpose.ACTION, iteration, t, number))
        for vector in self.vectors:
            ended += self._receive(last, vector)
            self._values[-1, vector.columns] = self.policy.values(vector.observations)
        return Rollout(
            self._observations,
            self._actions,
            self._log_probs,
            self._values[:-1],
            self._rewards,
            np.where(self._episode_over, self._end_values, self._values[1:]),
            self._episode_over,
            [episode for _, episode in ended],
            [row for row, _ in ended],
            self._points,
            self._forced,
            stand_ins(self._forced, self.params.seed, iteration, self.worker),
        )

    def _act(self, t: int, vector: EnvVector, action_key: np.ndarray) -> None:
        columns = vector.columns
        self._forced[t, columns] = vector.forced
        actions, log_probs, values = self.policy.act(vector.observations, action_key)
        vector.send(actions)  # the emulators step while this thread stores the sample
        self._observations[t, columns] = vector.observations
        self._actions[t, columns] = actions
        self._log_probs[t, columns] = log_probs
        self._values[t, columns] = values

    def _receive(self, t: int, vector: EnvVector) -> list[tuple[int, Episode]]:
        step = vector.receive()
        columns = vector.columns
        over = step.over
        if self.params.terminal_on_life_loss:
            over = over | step.life_lost
        rewards = step.rewards
        if self.params.clip_rewards:  # clipping must not turn an infinite reward into 1
            finite = np.isfinite(rewards)
            rewards = np.where(finite, np.sign(rewards), np.nan)
            if not self.clipped and (finite & (rewards != step.rewards)).any():
                self.clipped = True
                self.when_clipped()
        with np.errstate(over="ignore", invalid="ignore"):  # a sum may become infinite
            self._points += float(step.rewards.sum())
            self._rewards[t, columns] = rewards
        self._episode_over[t, columns] = over
        self._end_values[t, columns] = self._values_at_ends(step)
        return [(t, episode) for episode in step.finished]

    def _values_at_ends(self, step: Transition) -> np.ndarray:
        """Return 0, or after a time limit the value of the final observation."""
        values = np.zeros(len(step.rewards), np.float32)
        indices = np.flatnonzero(step.truncated)
        if len(indices):
            finals = np.stack([step.final_observations[int(index)] for index in indices])
            values[indices] = self.policy.values(finals)
        return values


def replace_forced(rollout: Rollout, *estimates: np.ndarray) -> None:
    """Overwrite each forced step by its stand-in: its sample in the rollout, and its value in each
    of the ``estimates``, [T, N].
    """
    forced = np.flatnonzero(rollout.forced)
    for array in (*rollout.samples, *estimates) if len(forced) else ():
        flat = array.reshape(-1, *array.shape[2:])
        flat[forced] = flat[rollout.stand_ins]


def stand_ins(forced: np.ndarray, seed: int, *counters: int) -> np.ndarray:
    """Return, for each forced step of [T, N], the flat index of a step that the policy chose. That
    step, sampled uniformly, replaces the forced one in learning. If all steps were forced, each one
    keeps its own index.
    """
    chosen = np.flatnonzero(~forced)
    if not len(chosen):
        return np.flatnonzero(forced)
    random = np.random.default_rng(key(seed, Purpose.STAND_IN, *counters).view(np.uint32))
    return random.choice(chosen, np.count_nonzero(forced))
