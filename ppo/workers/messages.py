"""What the workers of a run exchange: how their work ended, episodes, and scalars.

Every worker gets the data of all, so all have the same state and decide alike.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ppo.envs.episode import (
    SCORE_LIMIT,
    AnyEpisode,
    Episode,
    EpisodeMismatch,
    UnfinishedEpisode,
    episode_of,
    facts_of,
)
from ppo.envs.fleet import Unfinished
from ppo.errors import Diverged, EnvironmentFailed, NotFinite
from ppo.files import npz
from ppo.system.signals import Interrupted
from ppo.workers.interface import Workers

T = TypeVar("T")

# The failures that a worker reports. If workers report different ones, all raise the first of them.
_FAILURES: tuple[type[Exception], ...] = NotFinite, EnvironmentFailed, Interrupted, EpisodeMismatch


@dataclass(frozen=True)
class Report:
    """The results of an iteration. ``end_rows`` has the row of the rollout in which each episode
    ended. ``points`` are the points of all games. ``updated`` has the scalars of the update. They
    are the same on all workers, except the largest values of a sample.
    """

    episodes: list[Episode]
    end_rows: list[int]
    points: float
    scalars: dict[str, float]
    updated: dict[str, float]

    @property
    def finite(self) -> bool:
        """Whether the points and all scores can be compared and averaged."""
        scores = all(episode.has_score for episode in self.episodes)
        return scores and abs(self.points) < SCORE_LIMIT


def run_on_all(workers: Workers, step: int, work: Callable[[], T]) -> T:
    """Do this worker's share of the work. If it fails on any worker, all workers raise the same
    error: Diverged at ``step``, EnvironmentFailed, Interrupted or EpisodeMismatch.
    """
    results: list[T] = []
    raised, report = None, ""
    try:
        results.append(work())
    except _FAILURES as error:
        raised = error
        (kind,) = (failure for failure in _FAILURES if isinstance(error, failure))
        report = f"{kind.__name__}: {error}"
    data = workers.all_gather(report.encode(errors="replace"))
    kinds, _, messages = zip(*(one.decode().partition(": ") for one in data), strict=True)
    for failure in _FAILURES:
        if failure.__name__ not in kinds:
            continue
        if failure is NotFinite:
            unfit = {"observations": raised.observations} if isinstance(raised, NotFinite) else {}
            raise Diverged(step, gather_arrays(workers, unfit)) from raised
        worker = kinds.index(failure.__name__)
        named = failure is EnvironmentFailed and workers.count > 1
        where = f"worker {worker}: " if named else ""
        raise failure(f"{where}{messages[worker]}") from raised
    return results[0]


def any_worker(workers: Workers, *flags: bool) -> list[bool]:
    """Return, for each flag, whether it is set on any worker."""
    return [any(values) for values in zip(*workers.all_gather(bytes(flags)), strict=True)]


def gather_unfinished(workers: Workers, own: Unfinished) -> Unfinished:
    """Return the unfinished episodes of all workers."""
    if workers.count == 1:
        return own
    packed = _pack({"checksum": own.checksum}, own.episodes)
    parts = [_unpack(data, UnfinishedEpisode) for data in workers.all_gather(packed)]
    checksum = zlib.crc32(np.array([facts["checksum"] for facts, _ in parts]).tobytes())
    return Unfinished([episode for _, episodes in parts for episode in episodes], checksum)


def merge_reports(workers: Workers, own: Report) -> Report:
    """Merge the reports of all workers, with the episodes in the order of their ends."""
    if workers.count == 1:
        return own
    facts = {name: fact for name, fact in vars(own).items() if name != "episodes"}
    parts = [_unpack(data, Episode) for data in workers.all_gather(_pack(facts, own.episodes))]
    reports = [Report(episodes, **facts) for facts, episodes in parts]
    ends = [end for report in reports for end in zip(report.end_rows, report.episodes, strict=True)]
    ends.sort(key=lambda end: end[0])
    return Report(
        [episode for _, episode in ends],
        [row for row, _ in ends],
        sum(report.points for report in reports),
        {name: _mean([r.scalars[name] for r in reports]) for name in own.scalars},
        {name: max(r.updated[name] for r in reports) for name in own.updated},
    )


def broadcast_arrays(workers: Workers, own: list[np.ndarray]) -> list[np.ndarray]:
    """Return the arrays of the first worker."""
    packed = npz.pack({str(number): array for number, array in enumerate(own)})
    return [*npz.unpack(workers.broadcast(packed)).values()]


def gather_arrays(workers: Workers, own: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of the first worker and of workers with an array that is not finite."""
    if workers.count == 1:
        return own
    suspect = workers.index == 0 or not all(np.isfinite(array).all() for array in own.values())
    packed = npz.pack(own if suspect else {})
    return {
        f"worker_{worker}_{name}": array
        for worker, data in enumerate(workers.all_gather(packed))
        for name, array in npz.unpack(data).items()
    }


def _mean(values: list[float]) -> float:
    """Return the mean of the finite ones."""
    defined = [value for value in values if math.isfinite(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _pack(facts: dict, episodes: Sequence[AnyEpisode]) -> bytes:
    actions = {f"actions/{n}": episode.actions for n, episode in enumerate(episodes)}
    return npz.pack(actions, facts | {"episodes": [facts_of(one) for one in episodes]})


def _unpack(data: bytes, kind: type[AnyEpisode]) -> tuple[dict, list[AnyEpisode]]:
    facts, arrays = npz.unpack_with_facts(data)
    rows = enumerate(facts.pop("episodes"))
    return facts, [episode_of(kind, row, arrays[f"actions/{n}"]) for n, row in rows]
