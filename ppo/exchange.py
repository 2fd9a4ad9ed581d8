"""What the workers of a run tell each other after each iteration: the games they played, the state
of those that go on, and the scalars.

Everyone hears everyone, so that all hold the same state and decide alike; the first one keeps it.
"""

import json
import math
import zlib
from dataclasses import dataclass

import numpy as np

from ppo.distribution import Workers
from ppo.envs.episode import SCORE_LIMIT, Episode, Reset, UnfinishedEpisode
from ppo.files import npz


@dataclass(frozen=True)
class Games:
    """Unfinished episodes, in the order of the envs, and a checksum of what they show, if known."""

    unfinished: list[UnfinishedEpisode]
    shown: int | None


@dataclass(frozen=True)
class Report:
    """An iteration: its whole episodes, each with the step of the rollout in which it ended, the
    points of all games, the scalars, and the largest values of each minibatch, [minibatches,
    names].
    """

    episodes: list[Episode]
    ended_in: list[int]
    points: float
    scalars: dict[str, float]
    maxima: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether the points and all scores can be compared and averaged."""
        return abs(self.points) < SCORE_LIMIT and all(one.has_score for one in self.episodes)


def share_games(workers: Workers, own: Games) -> Games:
    """The games of all workers."""
    if workers.count == 1:
        return own
    of_each = [_games(data) for data in workers.gather(_packed_games(own))]
    unfinished = [episode for games in of_each for episode in games.unfinished]
    return Games(unfinished, zlib.crc32(np.array([games.shown for games in of_each]).tobytes()))


def share_report(workers: Workers, own: Report) -> Report:
    """The reports of all workers as one: episodes in the order of their ends, sums of points, means
    of scalars, largest values.
    """
    if workers.count == 1:
        return own
    reports = [_report(data) for data in workers.gather(_packed_report(own))]
    ends = [end for of_one in reports for end in zip(of_one.ended_in, of_one.episodes, strict=True)]
    ends.sort(key=lambda end: end[0])
    return Report(
        [episode for _, episode in ends],
        [t for t, _ in ends],
        sum(report.points for report in reports),
        {name: _mean([r.scalars[name] for r in reports]) for name in own.scalars},
        np.max([report.maxima for report in reports], 0),
    )


def share_arrays(workers: Workers, own: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of those workers that have any that is not finite, and of the first."""
    if workers.count == 1:
        return own
    suspect = workers.index == 0 or not all(np.isfinite(array).all() for array in own.values())
    given = npz.pack(own if suspect else {})
    return {
        f"worker_{worker}_{name}": array
        for worker, data in enumerate(workers.gather(given))
        for name, array in npz.unpack(data).items()
    }


def _mean(values: list[float]) -> float:
    """Of those that are finite."""
    defined = [value for value in values if math.isfinite(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _packed_games(games: Games) -> bytes:
    rows = [[e.seeds_used, e.reset.seed, e.reset.resets] for e in games.unfinished]
    return _pack(
        {"rows": rows, "shown": games.shown}, [episode.actions for episode in games.unfinished]
    )


def _games(data: bytes) -> Games:
    facts, actions = _unpack(data)
    unfinished = [
        UnfinishedEpisode(used, Reset(seed, resets), of_one)
        for (used, seed, resets), of_one in zip(facts["rows"], actions, strict=True)
    ]
    return Games(unfinished, facts["shown"])


def _packed_report(report: Report) -> bytes:
    rows = [
        [e.reset.seed, e.reset.resets, e.score, e.frames, e.last_observation]
        for e in report.episodes
    ]
    facts = {"rows": rows, "ended_in": report.ended_in, "points": report.points}
    facts["scalars"] = report.scalars
    return _pack(facts, [report.maxima, *(episode.actions for episode in report.episodes)])


def _report(data: bytes) -> Report:
    facts, (maxima, *actions) = _unpack(data)
    episodes = [
        Episode(Reset(seed, resets), of_one, score, frames, last_observation)
        for (seed, resets, score, frames, last_observation), of_one in zip(
            facts["rows"], actions, strict=True
        )
    ]
    return Report(episodes, facts["ended_in"], facts["points"], facts["scalars"], maxima)


def _pack(facts: dict, arrays: list[np.ndarray]) -> bytes:
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    return npz.pack({f"arr_{n}": array for n, array in enumerate([text, *arrays])})


def _unpack(data: bytes) -> tuple[dict, list[np.ndarray]]:
    text, *arrays = npz.unpack(data).values()  # in the order in which they were packed
    return json.loads(text.tobytes()), arrays
