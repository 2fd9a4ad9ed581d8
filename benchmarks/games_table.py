"""The table of ``benchmarks.games``, as a part of a page and as JSON."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from statistics import fmean
from typing import Any

from benchmarks.aggregates import AGGREGATES, Estimate, aggregates
from benchmarks.atari5 import predicted_median
from benchmarks.games_results import Kind, Result, interval_of
from ppo.play.games import POLICIES


@dataclass(frozen=True)
class Score:
    """The mean score of the runs of a game with one policy."""

    mean: float
    low: float
    high: float
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
class Table:
    """All games of the same settings and precision; ``over`` has the aggregates of those that have
    published scores of a human, ``predicted`` the median over 57 games, None if one of the five
    games is missing that tell it; both by policy.
    """

    kind: Kind
    rows: list[Row]
    over: dict[str, dict[str, Estimate]]
    predicted: dict[str, float | None]
    counted: int
    machines: list[str]


def tables(results: Sequence[Result]) -> list[Table]:
    """A table for each kind of settings and each precision, the shorter runs first."""
    kind = attrgetter("kind")
    return [_table(of, list(runs)) for of, runs in groupby(sorted(results, key=kind), kind)]


def markdown(found: Sequence[Table], missing: Iterable[str]) -> str:
    """The tables as a part of a page, with an overview of all kinds of settings first."""
    parts = [_overview(found)] if len(found) > 1 else []
    parts += [_section(table) for table in found]
    if unfinished := [f"- {line}" for line in missing]:
        parts.append("\n".join(["Not finished:", "", *unfinished]))
    return "\n\n".join(parts)


def as_json(results: Sequence[Result], found: Sequence[Table]) -> str:
    """The same as JSON, with every score of every run, without the curves."""
    content: dict[str, Any] = {
        "tables": [
            table.kind._asdict()
            | {key: value for key, value in dataclasses.asdict(table).items() if key != "kind"}
            | {"over": {p: _named(numbers) for p, numbers in table.over.items()}}
            for table in found
        ],
        "runs": [dataclasses.asdict(dataclasses.replace(run, curve=())) for run in results],
    }
    return json.dumps(content, indent=1) + "\n"


def _named(numbers: dict[str, Estimate]) -> dict[str, dict[str, Any]]:
    return {name: estimate._asdict() for name, estimate in numbers.items()}


def _table(kind: Kind, runs: Sequence[Result]) -> Table:
    games = groupby(sorted(runs, key=lambda run: (run.game, run.seed)), lambda run: run.game)
    by_game = {game: list(of_game) for game, of_game in games}
    over: dict[str, dict[str, Estimate]] = {}
    predicted: dict[str, float | None] = {}
    counted = 0
    for policy in POLICIES["both"]:
        normalized = {game: _of_human(of_game, policy) for game, of_game in by_game.items()}
        scores = {game: of_game for game, of_game in normalized.items() if of_game}
        over[policy], counted = aggregates([*scores.values()]) if scores else {}, len(scores)
        predicted[policy] = predicted_median(_by_rom(by_game, scores))
    rows = [_row(*item) for item in by_game.items()]
    return Table(kind, rows, over, predicted, counted, _machines(runs))


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
        {policy: _score(runs, policy) for policy in POLICIES["both"]},
    )


def _score(runs: Sequence[Result], policy: str) -> Score:
    scores = [run.scores[policy] for run in runs]
    mean = fmean(map(fmean, scores))
    return Score(mean, *interval_of(scores), runs[0].normalized(mean))


def _of_human(runs: Sequence[Result], policy: str) -> list[float]:
    """The human-normalised mean of each run of a game; none if it has no such scores."""
    means = [run.normalized(fmean(run.scores[policy])) for run in runs]
    return [mean for mean in means if mean is not None]


def _overview(found: Sequence[Table]) -> str:
    lines = [
        f"| settings | precision | steps | games | runs | {' | '.join(AGGREGATES)} |",
        "| --- | --- | --: | --: | --: | " + "--- | " * len(AGGREGATES),
    ]
    for table in found:
        runs = sum(len(row.seeds) for row in table.rows)
        numbers = [_estimate(table.over["sampled"].get(name)) for name in AGGREGATES]
        total_steps, settings, precision = table.kind
        cells = [settings, precision, f"{total_steps:,}", str(table.counted), str(runs), *numbers]
        lines.append(f"| {' | '.join(cells)} |")
    head = "Human-normalised scores of the sampled policy over the games of each kind of settings:"
    return "\n".join([head, "", *(line.rstrip() for line in lines)])


def _section(table: Table) -> str:
    lines = [
        f"### {table.kind}",
        "",
        "| game | seeds | sampled | human-normalised | greedy | human-normalised | minutes |",
        "| --- | --- | --- | --: | --- | --: | --: |",
    ]
    for row in table.rows:
        cells = [row.game, ", ".join(map(str, row.seeds))]
        for policy in POLICIES["both"]:
            score = row.scores[policy]
            between = f"({points(score.low)} to {points(score.high)})"
            cells += [f"{points(score.mean)} {between}", _plain(score.human_normalized)]
        lines.append(f"| {' | '.join([*cells, f'{row.minutes:.1f}'])} |")
    if table.counted:
        games = f"{table.counted} game{'s' * (table.counted > 1)}"
        lines += ["", f"| of {games}, human-normalised | sampled | greedy |"]
        lines.append("| --- | --- | --- |")
        for name in AGGREGATES:
            numbers = [_estimate(table.over[policy][name]) for policy in POLICIES["both"]]
            lines.append(f"| {name} | {' | '.join(numbers)} |")
        if None not in table.predicted.values():
            numbers = [_plain(table.predicted[policy]) for policy in POLICIES["both"]]
            lines.append(f"| median of 57 games, predicted | {' | '.join(numbers)} |")
    if table.machines:
        lines += ["", "Made on, with game and seed:", "", *(f"- {line}" for line in table.machines)]
    return "\n".join(lines)


def points(score: float) -> str:
    """A score, as exactly as its size asks for."""
    return f"{score:,.0f}" if abs(score) >= 1000 else f"{score:z.1f}"


def _plain(number: float | None) -> str:
    return "-" if number is None else f"{number:z.2f}"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    if estimate.interval is None:
        return f"{estimate.value:z.2f}"
    low, high = estimate.interval
    return f"{estimate.value:z.2f} ({low:z.2f} to {high:z.2f})"
