"""Whole games of a policy: their scores, and the confidence interval of the mean."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppo.envs import human
from ppo.envs.episode import Episode
from ppo.envs.foreign import closing
from ppo.envs.registry import rules_of
from ppo.envs.vector import EnvVector
from ppo.errors import ScoreNotFinite
from ppo.settings import ResolvedParams
from ppo.system.keys import Purpose, key
from ppo.system.signals import Interrupted
from ppo.system.streams import counted
from ppo.telemetry import intervals

if TYPE_CHECKING:
    from ppo.policy import Policy

SHORT_GAME_FRAMES = 18_000  # five minutes


@dataclass(frozen=True)
class Evaluation:
    """Whole episodes of one policy."""

    episodes: list[Episode]

    def __repr__(self) -> str:
        games = counted(len(self.episodes), "game")
        return f"Evaluation of {games} with a mean of {self.mean:.2f}"

    @property
    def scores(self) -> np.ndarray:
        return np.array([episode.score for episode in self.episodes])

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores))

    @property
    def mean_steps(self) -> float:
        return float(np.mean([episode.steps for episode in self.episodes]))

    @property
    def time_limited(self) -> int:
        """Number of games that only the time limit ended."""
        return sum(episode.time_limited for episode in self.episodes)

    def examples(self) -> dict[str, int]:
        """Return the indices of the best, the (lower) median and the worst game."""
        order = np.argsort(-self.scores, kind="stable")
        places = {"best": 0, "median": len(order) // 2, "worst": -1}
        return {name: int(order[rank]) for name, rank in places.items()}

    def record(self, params: ResolvedParams, policy: "Policy", step: int) -> dict[str, Any]:
        """Return what is stored: also the mean on the human scale, if scores are published."""
        low, high = self.interval()
        normalized = human.normalized(rules_of(params).game, self.mean)
        return {
            "step": step,
            "policy": policy.choice,
            "seed": params.seed,
            "scores": self.scores.tolist(),
            "lengths": [episode.steps for episode in self.episodes],
            "mean": self.mean,
            "low": low,
            "high": high,
            "median": float(np.median(self.scores)),
            "best": float(self.scores.max()),
            "worst": float(self.scores.min()),
            "mean_length": self.mean_steps,
            "time_limited": self.time_limited,
            **({} if normalized is None else {"human_normalized": normalized}),
        }

    def interval(self) -> tuple[float, float]:
        """Return the 95 percent confidence interval of the mean score. It is deterministic."""
        return intervals.score_interval(self.scores)


def with_short_games(params: ResolvedParams) -> ResolvedParams:
    """Return the settings with SHORT_GAME_FRAMES at most: an untrained policy may play for ever."""
    frames = min(params.max_frames_per_game, SHORT_GAME_FRAMES)
    return params.model_copy(update={"max_frames_per_game": frames})


def evaluate(
    policy: "Policy",
    params: ResolvedParams,
    num_games: int,
    step: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Play whole games, at most ``num_envs`` at once, with the policy of a step.

    Each env plays a number of games that is fixed in advance. Otherwise short games would be
    overrepresented. The same run, step and number of games give the same episodes. Raises
    NotFinite and ScoreNotFinite. Raises Interrupted as soon as ``interrupted`` returns True.
    """
    return evaluate_each([policy], params, num_games, step, interrupted)[0]


def evaluate_each(
    policies: Sequence["Policy"],
    params: ResolvedParams,
    num_games: int,
    step: int,
    interrupted: Callable[[], bool] = lambda: False,
    watched: Callable[[int], None] = lambda _: None,
) -> list[Evaluation]:
    """Evaluate each policy with the same emulators. ``watched`` gets the number of each step."""
    # Only as many envs as shorten the evaluation: an idle one costs as much time as a busy one.
    num_envs = math.ceil(num_games / math.ceil(num_games / params.num_envs))
    shares = [len(range(index, num_games, num_envs)) for index in range(num_envs)]
    vector = EnvVector(
        rules_of(params),
        num_envs,
        params.threads,
        seed=params.seed,
        purpose=Purpose.EVALUATION_GAME,
        fire_on_life_loss=params.fire_on_life_loss,
        interrupted=interrupted,
    )

    def play(policy: "Policy") -> list[Episode]:
        """Return the episodes of each env up to its share, env by env, from its first seed on."""
        vector.begin_anew()
        policy.prepare()
        played: list[list[Episode]] = [[] for _ in shares]
        count = 0
        while any(len(own) < share for own, share in zip(played, shares, strict=True)):
            if interrupted():
                raise Interrupted
            action_key = key(params.seed, Purpose.EVALUATION_ACTION, step, count)
            vector.send(policy.act(vector.observations, action_key).actions)
            received = vector.receive()
            for index, ended in zip(np.flatnonzero(received.over), received.finished, strict=True):
                played[index].append(ended)
            count += 1
            watched(count)
        shared = zip(played, shares, strict=True)
        episodes = [episode for own, share in shared for episode in own[:share]]
        if unfit := sum(not episode.has_score for episode in episodes):
            raise ScoreNotFinite(unfit, len(episodes))
        return episodes

    with closing(vector):
        return [Evaluation(play(policy)) for policy in policies]
