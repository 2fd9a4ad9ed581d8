"""Whole games with a trained policy: their scores, and what can be said of its mean."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo.folder import RunFolder, write_whole
from ppo.games import Game, GameVector, Rules, Transition
from ppo.keys import Purpose, key
from ppo.model import Act
from ppo.params import Params
from ppo.signals import Interrupted

RESAMPLES = 10_000


@dataclass(frozen=True)
class Evaluation:
    """Games of one policy."""

    games: list[Game]

    @property
    def mean(self) -> float:
        """Mean score."""
        return float(np.mean([game.score for game in self.games]))

    @property
    def mean_steps(self) -> float:
        """Mean length."""
        return float(np.mean([game.steps for game in self.games]))

    def record(self, params: Params, step: int) -> dict[str, Any]:
        """What a line of ``evaluations.jsonl`` says."""
        low, high = self.interval()
        return {
            "step": step,
            "policy": "sampled",
            "seed": params.seed,
            "scores": [game.score for game in self.games],
            "lengths": [game.steps for game in self.games],
            "mean": self.mean,
            "low": low,
            "high": high,
        }

    def interval(self) -> tuple[float, float]:
        """The 95 percent interval of the mean score, by bootstrap (Efron 1979), resampled with a
        fixed seed so that the same games give the same interval."""
        scores = np.array([game.score for game in self.games])
        rng = np.random.default_rng(0)
        shape = RESAMPLES // 100, len(scores)  # a hundred at a time, to save memory
        means = np.array([rng.choice(scores, shape).mean(axis=1) for _ in range(100)])
        low, high = np.percentile(means, [2.5, 97.5])
        return float(low), float(high)


def evaluate(
    act: Act,
    params: Params,
    num_games: int,
    step: int,
    interrupted: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Play whole games, at most ``num_envs`` at once, with actions drawn from the policy.

    Each place plays a share that is fixed beforehand, or else short games would count too
    often. The same run, step and number of games give the same games. Raises Interrupted as soon
    as ``interrupted`` says so.
    """
    games_in_a_row = math.ceil(num_games / params.num_envs)
    places = math.ceil(num_games / games_in_a_row)  # no more: an idle place's game costs as much
    shares = [len(range(place, num_games, places)) for place in range(places)]
    vector = games_of(params, places)
    try:
        games = _play(act, vector, shares, params, step, interrupted)
    finally:
        vector.close()
    return Evaluation(games)


def games_of(params: Params, places: int) -> GameVector:
    """The evaluation games of a run, not yet begun; the caller closes them."""
    assert params.seed is not None and params.threads is not None
    return GameVector(
        Rules.of(params),
        places,
        min(params.threads, places),
        frame_stack=params.frame_stack,
        screen_size=params.screen_size,
        seed=params.seed,
        purpose=Purpose.EVALUATION_GAME,
    )


def act_once(act: Act, vector: GameVector, params: Params, step: int, count: int) -> Transition:
    """One step of every game: the ``count``-th of an evaluation of the policy of ``step``."""
    assert params.seed is not None
    actions, _, _ = act(
        vector.observations, key(params.seed, Purpose.EVALUATION_ACTION, step, count)
    )
    vector.send(actions)
    return vector.receive()


def store(folder: RunFolder, evaluation: Evaluation, params: Params, step: int) -> None:
    """Add a line to ``evaluations.jsonl``, unless the same games stand there already, as they
    do when a run was resumed from before an evaluation.
    """
    line = json.dumps(evaluation.record(params, step)) + "\n"
    before = folder.evaluations.read_text() if folder.evaluations.exists() else ""
    lines = [whole for whole in before.splitlines(keepends=True) if whole.endswith("\n")]
    if line not in lines:
        write_whole(folder.evaluations, "".join([*lines, line]).encode())


def _play(
    act: Act,
    vector: GameVector,
    shares: list[int],
    params: Params,
    step: int,
    interrupted: Callable[[], bool],
) -> list[Game]:
    """The games of each place, up to its share, place by place."""
    vector.begin()
    games: list[list[Game]] = [[] for _ in shares]
    count = 0
    while any(len(played) < share for played, share in zip(games, shares, strict=True)):
        if interrupted():
            raise Interrupted
        transition = act_once(act, vector, params, step, count)
        over = np.flatnonzero(transition.terminated | transition.truncated)
        for place, game in zip(over, transition.finished, strict=True):
            games[place].append(game)
        count += 1
    return [game for played, share in zip(games, shares, strict=True) for game in played[:share]]
