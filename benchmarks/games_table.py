"""The table of ``benchmarks.games``, as data and as JSON; games_markdown.py writes it."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from statistics import fmean
from typing import Any

from benchmarks.aggregates import Estimate, aggregates
from benchmarks.atari5 import predicted_median
from benchmarks.games_results import Kind, Result, interval_of
from ppo.settings.fields import CHOICES


@dataclass(frozen=True)
class Score:
    """The mean score of the runs of a game with one policy, and how many scores of
    each run are distinct.
    """

    mean: float
    low: float
    high: float
    distinct: list[int]
    human_normalized: float | None


@dataclass(frozen=True)
class Row:
    """The runs of a game with the same settings."""

    game: str
    seeds: list[int]
    steps: int
    minutes: float
    scores: dict[str, Score]


@dataclass(frozen=True)
class Over:
    """The aggregates of some games, by policy."""

    games: list[str]
    estimates: dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class Table:
    """All games of one kind. ``over`` has the aggregates of the games with published human scores.
    ``repeated`` has the aggregates of those with several runs, if others have one. ``predicted``
    has the median over 57 games by policy, None if one of five games is missing (see atari5.py).
    """

    kind: Kind
    rows: list[Row]
    over: Over
    repeated: Over | None
    predicted: dict[str, float | None]
    machines: list[str]


def tables(results: Sequence[Result]) -> list[Table]:
    """A table for each kind of settings and each precision, the longest runs first."""
    ordered = sorted(results, key=lambda run: (-run.total_steps, run.kind))
    return [_table(kind, list(runs)) for kind, runs in groupby(ordered, attrgetter("kind"))]


def as_json(results: Sequence[Result], by_kind: Sequence[Table]) -> str:
    """Tables and runs as JSON, with every score of every run, without the curves."""
    content: dict[str, Any] = {
        "tables": [
            table.kind._asdict()
            | {key: value for key, value in dataclasses.asdict(table).items() if key != "kind"}
            for table in by_kind
        ],
        "runs": [dataclasses.asdict(dataclasses.replace(run, curve=())) for run in results],
    }
    return json.dumps(content, indent=1) + "\n"


def _table(kind: Kind, runs: Sequence[Result]) -> Table:
    games = groupby(sorted(runs, key=lambda run: (run.game, run.seed)), lambda run: run.game)
    by_game = {game: list(of_game) for game, of_game in games}
    scores: dict[str, dict[str, list[float]]] = {
        policy: _of_humans(by_game, policy) for policy in CHOICES
    }
    known = [*scores["sampled"]]
    several = [game for game in known if len(by_game[game]) > 1]
    repeated = _over(several, scores) if 1 < len(several) < len(known) else None
    predicted: dict[str, float | None] = {
        policy: predicted_median(_by_rom(by_game, of_policy))
        for policy, of_policy in scores.items()
    }
    rows = [_row(*item) for item in by_game.items()]
    return Table(kind, rows, _over(known, scores), repeated, predicted, _machines(runs))


def _over(games: list[str], scores: Mapping[str, Mapping[str, list[float]]]) -> Over:
    estimates = {
        policy: aggregates([of_policy[game] for game in games]) if games else {}
        for policy, of_policy in scores.items()
    }
    return Over(games, estimates)


def _of_humans(by_game: Mapping[str, Sequence[Result]], policy: str) -> dict[str, list[float]]:
    """The human-normalised mean of each run of the games that have such scores."""
    normalized = {
        game: [run.normalized(fmean(run.scores[policy])) for run in runs]
        for game, runs in by_game.items()
    }
    known = {
        game: [mean for mean in means if mean is not None] for game, means in normalized.items()
    }
    return {game: means for game, means in known.items() if means}


def _by_rom(
    by_game: Mapping[str, Sequence[Result]], scores: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Mean scores by ROM; a ROM that is in the table as several games has no one score."""
    roms = [of_game[0].rom for of_game in by_game.values()]
    return {
        rom: fmean(of_game)
        for game, of_game in scores.items()
        if (rom := by_game[game][0].rom) and roms.count(rom) == 1
    }


def _machines(runs: Sequence[Result]) -> list[str]:
    """A line for each machine and day that is noted: the runs that were made there."""
    noted = sorted((run for run in runs if run.machine), key=lambda run: (run.date, run.machine))
    made: dict[str, list[str]] = {}
    for run in noted:
        made.setdefault(f"{run.machine}, {run.date}", []).append(f"{run.game} {run.seed}")
    return [f"{place}: {', '.join(of_place)}" for place, of_place in made.items()]


def _row(game: str, runs: Sequence[Result]) -> Row:
    return Row(
        game,
        [run.seed for run in runs],
        max(run.steps for run in runs),
        fmean(run.minutes for run in runs),
        {policy: _score(runs, policy) for policy in CHOICES},
    )


def _score(runs: Sequence[Result], policy: str) -> Score:
    scores = [run.scores[policy] for run in runs]
    mean = fmean(map(fmean, scores))
    distinct = [len(set(own)) for own in scores]
    return Score(mean, *interval_of(scores), distinct, runs[0].normalized(mean))
