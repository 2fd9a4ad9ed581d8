"""What a run has come to, in numbers: steps, updates, episodes and their scores."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from ppo.checkpoint import Checkpoint
from ppo.envs.episode import Episode

RECENT_EPISODES = 100
# Of the learning rate, after a rollback: docs/collapse.md has what half and a quarter prevent.
SHARE_LEFT = 1 / 8


def reached(recent: Sequence[tuple[float, int]], target: float | None) -> bool:
    """Whether ``recent`` episodes, each a score and a length, are RECENT_EPISODES with a mean score
    of ``target`` or more.
    """
    full = len(recent) == RECENT_EPISODES
    return target is not None and full and float(np.mean([score for score, _ in recent])) >= target


class Tally:
    """Counts, and the scores of the last RECENT_EPISODES whole episodes."""

    def __init__(self) -> None:
        self.step = self.iteration = self.epochs = self.episodes = self.rollbacks = 0
        self.rate_share = 1.0  # what the rollbacks have left of the learning rate
        self.best_score: float | None = None
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT_EPISODES)

    def count(self, steps: int, epochs: int, episodes: list[Episode]) -> None:
        """Count an iteration in."""
        self.step += steps
        self.iteration += 1
        self.epochs += epochs
        self.episodes += len(episodes)
        self.recent.extend((episode.score, episode.steps) for episode in episodes)
        scores = [episode.score for episode in episodes]
        if self.best_score is not None:
            scores.append(self.best_score)
        self.best_score = max(scores, default=None)

    def roll_back(self) -> None:
        """Count a rollback, which leaves SHARE_LEFT of the learning rate."""
        self.rollbacks += 1
        self.rate_share *= SHARE_LEFT

    def reached(self, target: float | None) -> bool:
        """Whether the mean score of the last RECENT_EPISODES is a target or more."""
        return reached(self.recent, target)

    def mean_score(self) -> float:
        """Mean score of the last episodes."""
        return float(np.mean([score for score, _ in self.recent]))

    def scalars(self) -> dict[str, float]:
        """The numbers as scalars of the log."""
        scalars: dict[str, float] = {
            "rollout/games": self.episodes,
            "train/n_updates": self.epochs,
            "train/rollbacks": self.rollbacks,
        }
        if self.best_score is not None:
            scalars["rollout/ep_rew_best"] = self.best_score
            scalars["rollout/ep_rew_mean"] = self.mean_score()
            scalars["rollout/ep_len_mean"] = float(np.mean([steps for _, steps in self.recent]))
        return scalars

    def facts(self) -> dict[str, Any]:
        """The fields of ``TrainerFacts`` that ``restore`` reads; the step stands beside them."""
        return {
            "iteration": self.iteration,
            "epochs": self.epochs,
            "games_played": self.episodes,
            "rollbacks": self.rollbacks,
            "rate_share": self.rate_share,
            "best_score": self.best_score,
            "recent": tuple(self.recent),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from the numbers in a checkpoint."""
        facts = checkpoint.trainer
        self.step, self.iteration, self.epochs = checkpoint.step, facts.iteration, facts.epochs
        self.episodes, self.best_score = facts.games_played, facts.best_score
        self.rollbacks = facts.rollbacks
        share = facts.rate_share
        self.rate_share = 0.5**self.rollbacks if share is None else share
        self.recent.clear()
        self.recent.extend(facts.recent)
