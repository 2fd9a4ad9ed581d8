"""What an episode is: a reset and the actions after it.

The emulator is deterministic. An episode can be replayed, bit for bit, from its rules, its
``Reset`` and its actions. Checkpoints, replays and videos rely on this.
"""

import zlib
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ppo.envs import roms
from ppo.errors import Refused
from ppo.system.reading import SCORE_LIMIT

MOST_RESETS = 1000  # of a Reset; more than any run makes


@dataclass(frozen=True)
class Rules:
    """All that determines an episode, besides its reset and its actions, and how it is observed."""

    game: str
    frame_skip: int
    sticky_action_probability: float
    noop_max: int
    fire_on_reset: bool
    full_action_space: bool
    max_frames_per_game: int
    frame_stack: int = 4
    screen_size: int = 84

    @property
    def is_atari(self) -> bool:
        """Whether the game is a ROM; if not, ``game`` is the id of a Gymnasium environment."""
        return roms.is_rom(self.game)

    @property
    def frames_per_step(self) -> int:
        """Frames of one step; outside Atari a step is a frame."""
        return self.frame_skip if self.is_atari else 1


def checksum(observations: np.ndarray, before: int = 0) -> int:
    """Return a CRC-32 of observations that continues a previous one."""
    return zlib.crc32(np.ascontiguousarray(observations).data, before)


@dataclass(frozen=True)
class Reset:
    """How an episode began: a reset with ``seed``, then ``resets`` more without one."""

    seed: int
    resets: int


@dataclass(frozen=True)
class Episode:
    """A whole episode. ``last_observation`` is a checksum. It distinguishes episodes of the same
    score and length. ``time_limited``: only the time limit ended the episode.
    """

    reset: Reset
    actions: np.ndarray
    score: float
    frames: int
    last_observation: int
    time_limited: bool = False

    @property
    def steps(self) -> int:
        return len(self.actions)

    @property
    def has_score(self) -> bool:
        """Whether the score can be compared and averaged: it is not NaN, infinite or too large."""
        return abs(self.score) < SCORE_LIMIT


@dataclass(frozen=True)
class UnfinishedEpisode:
    """An episode in progress, and the number of seeds that its env has used."""

    seeds_used: int
    reset: Reset
    actions: np.ndarray


AnyEpisode = TypeVar("AnyEpisode", Episode, UnfinishedEpisode)


def facts_of(episode: Episode | UnfinishedEpisode) -> dict[str, Any]:
    """Return all of an episode except its actions, ready for JSON."""
    facts = vars(episode) | vars(episode.reset)
    return {name: value for name, value in facts.items() if name not in ("reset", "actions")}


def episode_of(kind: type[AnyEpisode], facts: dict[str, Any], actions: np.ndarray) -> AnyEpisode:
    """Return the episode that ``facts_of`` and its actions describe."""
    others = {name: value for name, value in facts.items() if name not in ("seed", "resets")}
    return kind(reset=Reset(facts["seed"], facts["resets"]), actions=actions, **others)


class EpisodeMismatch(Refused):
    """A replayed episode did not match its record."""

    remedy = (
        "nothing was changed. --resume --new-games begins new games instead, no longer bit for bit"
    )


@dataclass(frozen=True)
class Transition:
    """The result of one step of n envs; all arrays are [n]. ``final_observations`` has the last
    observation of each env whose episode ended; the vector holds the next episode's first one.
    """

    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    life_lost: np.ndarray
    final_observations: dict[int, np.ndarray]
    finished: list[Episode]

    @property
    def over(self) -> np.ndarray:
        return self.terminated | self.truncated
