"""All envs of a worker, and its unfinished episodes as they are saved and restored."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from ppo.envs.episode import UnfinishedEpisode, checksum
from ppo.envs.foreign import closed_if_it_fails
from ppo.envs.registry import rules_of
from ppo.envs.vector import EnvVector
from ppo.settings import ResolvedParams
from ppo.system.arrays import cuts


@dataclass(frozen=True)
class Unfinished:
    """Unfinished episodes, in the order of the envs, and a checksum of what they show, if known."""

    episodes: list[UnfinishedEpisode]
    checksum: int | None


class Fleet:
    """All envs of a worker, in vectors whose envs step together."""

    def __init__(
        self, params: ResolvedParams, num_vectors: int, interrupted: Callable[[], bool], worker: int
    ):
        """Make and reset the envs. ``worker`` is this worker's index. Raises Interrupted,
        EnvironmentFailed and UnknownGame.
        """
        self.rules, self.vectors = rules_of(params), list[EnvVector]()
        with closed_if_it_fails(self):
            for begin, end in cuts(params.num_envs, num_vectors):
                vector = EnvVector(
                    self.rules,
                    end - begin,
                    params.threads,
                    seed=params.seed,
                    first_index=begin,
                    envs_before=worker * params.num_envs,
                    fire_on_life_loss=params.fire_on_life_loss,
                    interrupted=interrupted,
                )
                self.vectors.append(vector)
            self.begin()
        self.num_actions = self.vectors[0].num_actions
        self.action_names = self.vectors[0].action_names
        self.observation_shape = self.vectors[0].observations.shape[1:]
        self.seeds_every_episode = False

    def snapshot(self) -> Unfinished:
        """Return the unfinished episodes, between two steps."""
        episodes, crc = [], 0
        for vector in self.vectors:
            episodes += vector.snapshot()
            crc = checksum(vector.observations, crc)
        return Unfinished(episodes, crc)

    def seed_every_episode(self) -> None:
        """Begin every later episode with a seeded reset, whatever is known of the ROM."""
        self.seeds_every_episode = True
        for vector in self.vectors:
            vector.resets_per_seed = 1

    def begin(self) -> None:
        for vector in self.vectors:
            vector.begin()

    def restore(
        self, episodes: list[UnfinishedEpisode], interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Replay unfinished episodes up to their last actions. If there are fewer episodes than
        envs, the last envs begin new ones.

        Raises EpisodeMismatch if an episode ends where it did not before, Interrupted on request.
        """
        episodes = [*episodes, *self.snapshot().episodes[len(episodes) :]]
        for vector in self.vectors:  # new episodes use later seeds, even if these do not replay
            vector.seeds_used[:] = [episode.seeds_used for episode in episodes[vector.columns]]
        for vector in self.vectors:
            vector.restore(episodes[vector.columns], interrupted)

    def close(self) -> None:
        """Close all vectors, even if one of them fails."""
        with ExitStack() as stack:
            for vector in self.vectors:
                stack.callback(vector.close)
