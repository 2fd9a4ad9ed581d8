"""A vector of envs, which records every episode as it is played."""

from collections.abc import Callable

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


class _Records:
    """The episode in progress of each env: its reset, its actions, its outcome so far."""

    def __init__(self, num_envs: int):
        self.resets = [Reset(0, 0)] * num_envs
        self._actions: list[list[int]] = [[] for _ in range(num_envs)]
        self._scores = np.zeros(num_envs)
        self._frames = np.zeros(num_envs, np.int64)

    def act(self, actions: np.ndarray) -> None:
        for taken, action in zip(self._actions, actions.tolist(), strict=True):
            taken.append(action)

    def receive(self, rewards: np.ndarray, frames: np.ndarray) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # callers check that a score is finite
            self._scores += rewards
        self._frames += frames

    def clear(self, mask: np.ndarray) -> None:
        for index in np.flatnonzero(mask):
            self._actions[index] = []
        self._scores[mask] = 0
        self._frames[mask] = 0

    def unfinished(self, seeds_used: np.ndarray) -> list[UnfinishedEpisode]:
        episodes = zip(seeds_used.tolist(), self.resets, self._actions, strict=True)
        return [
            UnfinishedEpisode(used, reset, np.array(actions, np.int32))
            for used, reset, actions in episodes
        ]

    def episode(self, index: int, last_observation: np.ndarray, limited: bool) -> Episode:
        return Episode(
            self.resets[index],
            np.array(self._actions[index], np.int32),
            float(self._scores[index]),
            int(self._frames[index]),
            checksum(last_observation),
            limited,
        )


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
        self._records = _Records(num_envs)
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
        self._reset_seeded(np.ones(len(self), bool))

    def begin_anew(self) -> None:
        """Reset all envs, each with its first seed, as if they had just been made."""
        self.seeds_used[:] = 0
        self.begin()

    def begin_as(self, resets: list[Reset]) -> None:
        """Reset each env to the beginning of a recorded episode."""
        self._reset_as(np.ones(len(self), bool), resets)

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
        self._records.act(actions)
        self._envs.send(actions)

    def receive(self) -> Transition:
        """Wait for the step, and update ``observations``."""
        raw, rewards, terminated, truncated, info = self._envs.receive()
        over = terminated | truncated
        self._envs.to_channels_last(raw, self.observations)
        frames_of_next = np.where(over, info["episode_frame_number"], 0)
        frames = info["frame_number"] - self._frame_number - frames_of_next
        self._records.receive(rewards, frames)
        life_lost = ~over & (info["lives"] < self._lives)
        if self._fire is not None:
            self.forced = life_lost
        finals, limited = self._final_observations(info, over), truncated & ~terminated
        ended = ((index, final, bool(limited[index])) for index, final in finals.items())
        transition = Transition(
            rewards=np.asarray(rewards, np.float64),
            terminated=terminated,
            truncated=limited,
            life_lost=life_lost,
            final_observations=finals,
            finished=[self._records.episode(*facts) for facts in ended],
        )
        self._note(info)
        if over.any():
            self._begin_next(over)
        return transition

    def snapshot(self) -> list[UnfinishedEpisode]:
        """Return the episodes in progress, between two steps."""
        return self._records.unfinished(self.seeds_used)

    def restore(
        self, episodes: list[UnfinishedEpisode], interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Replay unfinished episodes, up to their last action, in envs that have begun.

        A step moves all envs of the vector, so episodes are right-aligned: an episode with fewer
        actions begins later, and until then its env makes idle steps.

        Raises ValueError unless there is an episode for each env, EpisodeMismatch if an episode
        ends too early, Interrupted on request.
        """
        if len(episodes) != len(self):
            raise ValueError(f"{len(episodes)} episodes do not fit a vector of {len(self)}")
        lengths = np.array([len(episode.actions) for episode in episodes])
        longest = int(lengths.max(initial=0))
        for step in range(longest + 1):
            if interrupted():
                raise Interrupted
            begun_now = longest - lengths == step
            if begun_now.any():
                self._reset_as(begun_now, [episode.reset for episode in episodes])
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

    def _begin_next(self, over: np.ndarray) -> None:
        """Record the episodes that began in this step; reseed the envs that are due."""
        resets = self._records.resets
        for index in np.flatnonzero(over):
            resets[index] = Reset(resets[index].seed, resets[index].resets + 1)
        self._forget(over)
        due = over & [reset.resets >= self.resets_per_seed for reset in resets]
        if due.any():
            self._reset_seeded(due)

    def _reset_seeded(self, mask: np.ndarray) -> None:
        for index in np.flatnonzero(mask):
            used = int(self.seeds_used[index])
            seed = seed31(self._seed, self._purpose, self.indices[index], used)
            self._records.resets[index] = Reset(seed, 0)
            self.seeds_used[index] += 1
        self._reset(mask, seeded=True)

    def _reset_as(self, mask: np.ndarray, resets: list[Reset]) -> None:
        for index in np.flatnonzero(mask):
            self._records.resets[index] = resets[index]
        self._reset(mask, seeded=True)
        plain = np.array([reset.resets for reset in self._records.resets])
        for done in range(int(plain[mask].max())):
            self._reset(mask & (plain > done), seeded=False)

    def _reset(self, mask: np.ndarray, seeded: bool) -> None:
        seeds = [self._records.resets[index].seed for index in np.flatnonzero(mask)]
        raw, info = self._envs.reset(mask, np.array(seeds) if seeded else None)
        self._envs.to_channels_last(raw, self.observations)
        self._forget(mask)
        self._note(info)

    def _forget(self, mask: np.ndarray) -> None:
        self._records.clear(mask)
        self.forced = self.forced & ~mask

    def _note(self, info: dict) -> None:
        self._lives = info["lives"].copy()
        self._frame_number = info["frame_number"].astype(np.int64)
