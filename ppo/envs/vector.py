"""A vector of envs, which records every episode as it is played."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from ppo.envs import roms
from ppo.envs.atari import MOST_IN_ONE, AtariEnvs, GroupedEnvs
from ppo.envs.episode import (
    Episode,
    EpisodeMismatch,
    Reset,
    Rules,
    Transition,
    UnfinishedEpisode,
    checksum,
)
from ppo.envs.generic import GenericEnvs
from ppo.system.keys import Purpose, seed31
from ppo.system.signals import Interrupted

# A seeded reset loads the ROM again and takes about 100 ms. An unseeded reset takes 3 to 33 ms. All
# envs of the vector wait for a reset. If an unseeded reset is an equally fresh start, only one
# reset in RESETS_PER_SEED is seeded.
RESETS_PER_SEED = 64


@dataclass
class _Record:
    """The episode in progress of an env: its reset, its actions, its outcome so far."""

    reset: Reset
    actions: list[int] = field(default_factory=list)
    score: float = 0.0  # callers check that it is finite
    frames: int = 0


class EnvVector:
    """Envs that step together.

    ``send`` starts a step and returns at once; ``receive`` waits for it. An env whose episode ended
    is reset in the same step, which makes every row a real transition. ``forced`` marks the envs
    that press FIRE in the next step, whatever action is sent to them.
    """

    def __init__(
        self,
        rules: Rules,
        num_envs: int,
        threads: int,
        *,
        seed: int = 0,
        first_index: int = 0,
        envs_before: int = 0,
        purpose: Purpose = Purpose.GAME,
        fire_on_life_loss: bool = False,
        interrupted: Callable[[], bool] = lambda: False,
    ):
        """An episode's seed follows from the run's ``seed``, the ``purpose``, the env's index
        in the run and the number of seeds used before. ``first_index`` is the first env's index
        in its worker. Earlier workers have ``envs_before`` envs.
        """
        self.rules, self.columns = rules, slice(first_index, first_index + num_envs)
        self.indices = range(envs_before + first_index, envs_before + first_index + num_envs)
        self._seed, self._purpose = seed, purpose
        self._envs: AtariEnvs | GroupedEnvs | GenericEnvs
        if not rules.is_atari:
            self._envs = GenericEnvs(rules, num_envs)
        elif num_envs <= MOST_IN_ONE:
            self._envs = AtariEnvs(rules, num_envs, threads)
        else:
            self._envs = GroupedEnvs(rules, num_envs, threads, interrupted)
        self.num_actions, self.action_names = self._envs.num_actions, self._envs.action_names
        self.observations = np.zeros((num_envs, *self._envs.observation_shape), self._envs.dtype)
        self._fire = self._envs.fire if fire_on_life_loss else None
        self.forced = np.zeros(num_envs, bool)
        self._records = [_Record(Reset(0, 0)) for _ in range(num_envs)]
        self.seeds_used = np.zeros(num_envs, int)
        self._lives = np.zeros(num_envs, int)
        self._frame_number = np.zeros(num_envs, np.int64)
        # With sticky actions, the emulator's random generator keeps its state between episodes. Any
        # other environment's generator may do so too.
        fresh = rules.sticky_action_probability == 0 and rules.game in roms.FRESH_AFTER_RESET
        self.resets_per_seed = RESETS_PER_SEED if fresh else 1

    def __len__(self) -> int:
        return len(self.indices)

    def begin(self) -> None:
        """Reset all envs, each with its next seed."""
        self._reset_seeded(range(len(self)))

    def begin_anew(self) -> None:
        """Reset all envs, each with its first seed, as if they had just been made."""
        self.seeds_used[:] = 0
        self.begin()

    def begin_as(self, resets: list[Reset]) -> None:
        """Reset each env to the beginning of a recorded episode."""
        self._reset_as(dict(enumerate(resets)))

    def send(self, actions: np.ndarray) -> None:
        """Start one step. Raises ValueError for an action out of range, before anything moves."""
        if self._fire is not None:
            actions = np.where(self.forced, self._fire, actions)
        self._send(actions)

    def _send(self, actions: np.ndarray) -> None:
        # The emulator hangs on an unknown action.
        if actions.shape != (len(self),) or actions.min() < 0 or actions.max() >= self.num_actions:
            raise ValueError(
                f"actions must be {len(self)} integers from 0 to {self.num_actions - 1}: {actions}"
            )
        for record, action in zip(self._records, actions.tolist(), strict=True):
            record.actions.append(action)
        self._envs.send(actions)

    def receive(self) -> Transition:
        """Wait for the step, and update ``observations``."""
        raw, rewards, terminated, truncated, info = self._envs.receive()
        over = terminated | truncated
        self._envs.to_channels_last(raw, self.observations)
        frames_of_next = np.where(over, info["episode_frame_number"], 0)
        frames = info["frame_number"] - self._frame_number - frames_of_next
        counted = zip(self._records, rewards.tolist(), frames.tolist(), strict=True)
        for record, reward, count in counted:
            record.score += reward
            record.frames += count
        life_lost = ~over & (info["lives"] < self._lives)
        if self._fire is not None:
            self.forced = life_lost
        finals, limited = self._final_observations(info, over), truncated & ~terminated
        transition = Transition(
            rewards=np.asarray(rewards, np.float64),
            terminated=terminated,
            truncated=limited,
            life_lost=life_lost,
            final_observations=finals,
            finished=[self._episode(i, final, bool(limited[i])) for i, final in finals.items()],
        )
        self._note(info)
        if over.any():
            self._begin_next(over)
        return transition

    def snapshot(self) -> list[UnfinishedEpisode]:
        """Return the episodes in progress, between two steps."""
        return [
            UnfinishedEpisode(used, record.reset, np.array(record.actions, np.int32))
            for used, record in zip(self.seeds_used.tolist(), self._records, strict=True)
        ]

    def restore(
        self, episodes: list[UnfinishedEpisode], interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Replay unfinished episodes, up to their last action, in envs that have begun.

        A step moves all envs of the vector, so episodes are right-aligned: an episode with fewer
        actions begins later, and until then its env makes idle steps.

        Raises EpisodeMismatch if an episode ends too early, and Interrupted on request.
        """
        lengths = np.array([len(episode.actions) for episode in episodes])
        longest = int(lengths.max(initial=0))
        for step in range(longest + 1):
            if interrupted():
                raise Interrupted
            begun_now = np.flatnonzero(longest - lengths == step).tolist()
            self._reset_as({index: episodes[index].reset for index in begun_now})
            if step == longest:
                break
            playing = longest - lengths <= step
            actions = [
                episode.actions[step - (longest - length)] if on else 0
                for episode, length, on in zip(episodes, lengths, playing, strict=True)
            ]
            self._send(np.array(actions, np.int64))
            if self.receive().over[playing].any():
                raise EpisodeMismatch("an unfinished episode ended while it was replayed")
        self.seeds_used[:] = [episode.seeds_used for episode in episodes]

    def close(self) -> None:
        self._envs.close()

    def _final_observations(self, info: dict, over: np.ndarray) -> dict[int, np.ndarray]:
        """Return copies of the final observations. ``info`` has them only if an episode ended."""
        finals: dict[int, np.ndarray] = {}
        for index in np.flatnonzero(over):
            finals[int(index)] = np.empty_like(self.observations[index])
            raw = np.asarray(info["final_obs"][index])
            self._envs.to_channels_last(raw[np.newaxis], finals[int(index)][np.newaxis])
        return finals

    def _episode(self, index: int, final: np.ndarray, limited: bool) -> Episode:
        own = self._records[index]
        actions = np.array(own.actions, np.int32)
        return Episode(own.reset, actions, own.score, own.frames, checksum(final), limited)

    def _begin_next(self, over: np.ndarray) -> None:
        """Record the episodes that began in this step; reseed the envs that are due."""
        due = []
        for index in np.flatnonzero(over).tolist():
            before = self._records[index].reset
            self._records[index] = _Record(Reset(before.seed, before.resets + 1))
            if before.resets + 1 >= self.resets_per_seed:
                due.append(index)
        self._reset_seeded(due)

    def _reset_seeded(self, indices: Iterable[int]) -> None:
        """Reset some envs, each with its next seed."""
        resets = {}
        for index in indices:
            used = int(self.seeds_used[index])
            resets[index] = Reset(seed31(self._seed, self._purpose, self.indices[index], used), 0)
            self.seeds_used[index] += 1
        self._reset_as(resets)

    def _reset_as(self, resets: dict[int, Reset]) -> None:
        """Reset some envs, by index, each to the beginning of an episode."""
        for index, reset in resets.items():
            self._records[index] = _Record(reset)
        due = np.array([resets[i].resets if i in resets else -1 for i in range(len(self))])
        for done in range(due.max() + 1):
            mask = due >= done
            seeds = None if done else np.array([resets[i].seed for i in sorted(resets)])
            raw, info = self._envs.reset(mask, seeds)
            self._envs.to_channels_last(raw, self.observations)
            self._note(info)
        self.forced = self.forced & (due < 0)

    def _note(self, info: dict) -> None:
        self._lives = info["lives"].copy()
        self._frame_number = info["frame_number"].astype(np.int64)
