"""Totals of a run: updates, episodes and their scores, rollbacks. What follows from them: how much
of the learning rate is left, and whether the run ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from pydantic import ConfigDict, FiniteFloat

from ppo.envs.episode import Episode
from ppo.settings import Params
from ppo.telemetry.scalars import SCORE

RECENT_EPISODES = 100
# The collapse guard makes at most MOST_ROLLBACKS. Each leaves SHARE_LEFT of the learning rate;
# docs/guard.md compares it with a half and a quarter.
MOST_ROLLBACKS, SHARE_LEFT = 3, 1 / 8

# With learning_rate_kl the learning rate is divided or multiplied by KL_FACTOR; its share stays at
# least LEAST_KL_SHARE.
KL_FACTOR, LEAST_KL_SHARE = 1.5, 1e-3

Count = Annotated[int, Ge(0), Lt(2**62)]


@dataclass(frozen=True)
class Tally:
    """Counts, the scores and lengths of the last RECENT_EPISODES, and the shares of the learning
    rate that rollbacks and ``after_kl`` have left. A checkpoint has the fields as they are.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    iteration: Count = 0
    epochs: Count = 0
    episodes: Count = 0
    rollbacks: Annotated[int, Ge(0), Le(MOST_ROLLBACKS)] = 0
    rate_share: Annotated[float, Gt(0), Le(1)] = 1.0
    kl_share: Annotated[float, Gt(0), Le(1)] = 1.0
    best_score: FiniteFloat | None = None
    recent: tuple[tuple[FiniteFloat, Count], ...] = ()

    def after(self, epochs: int, episodes: Sequence[Episode]) -> "Tally":
        played = tuple((episode.score, episode.steps) for episode in episodes)
        best = [] if self.best_score is None else [self.best_score]
        return replace(
            self,
            iteration=self.iteration + 1,
            epochs=self.epochs + epochs,
            episodes=self.episodes + len(episodes),
            best_score=max([score for score, _ in played] + best, default=None),
            recent=(*self.recent, *played)[-RECENT_EPISODES:],
        )

    def after_rollback(self) -> "Tally":
        share = self.rate_share * SHARE_LEFT
        return replace(self, rollbacks=self.rollbacks + 1, rate_share=share)

    def after_kl(self, kl: float, aim: float) -> "Tally":
        """Return the tally after an update that moved the policy by ``kl``. The learning rate falls
        if ``kl`` is far above ``aim``, the setting learning_rate_kl, and recovers if far below.
        """
        share = self.kl_share
        if kl > 2 * aim:
            share = max(share / KL_FACTOR, LEAST_KL_SHARE)
        elif kl < aim / 2:
            share = min(share * KL_FACTOR, 1.0)
        return replace(self, kl_share=share)

    def rate_left(self, params: Params) -> float:
        """Return the share of the learning rate that rollbacks and ``learning_rate_kl`` leave."""
        return self.rate_share * (self.kl_share if params.learning_rate_kl else 1.0)

    def ends_run(self, step: int, params: Params) -> bool:
        """Whether all steps are done, or the last RECENT_EPISODES reached ``stop_at_score``."""
        return step >= params.total_steps or self.reached_score(params)

    def reached_score(self, params: Params) -> bool:
        target = params.stop_at_score
        return target is not None and self.has_enough and self.mean_score() >= target

    @property
    def has_enough(self) -> bool:
        """Whether as many episodes have ended as a score needs to count."""
        return len(self.recent) == RECENT_EPISODES

    def mean_score(self) -> float:
        return float(np.mean([score for score, _ in self.recent]))

    def scalars(self) -> dict[str, float]:
        scalars: dict[str, float] = {
            "rollout/games": self.episodes,
            "train/n_updates": self.epochs,
            "train/rollbacks": self.rollbacks,
        }
        if self.best_score is not None:
            scalars["rollout/ep_rew_best"] = self.best_score
            scalars[SCORE] = self.mean_score()
            scalars["rollout/ep_len_mean"] = float(np.mean([steps for _, steps in self.recent]))
        return scalars
