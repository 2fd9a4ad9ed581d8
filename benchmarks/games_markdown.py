"""The table of ``benchmarks.games`` as a part of a page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from benchmarks.aggregates import AGGREGATES, Estimate
from benchmarks.games_table import Over, Row, Score, Table
from ppo.play.games import POLICIES


def markdown(found: Sequence[Table], missing: Iterable[str]) -> str:
    """The tables as a part of a page; first an overview of all kinds of settings, and those that
    were run for as many steps beside each other.
    """
    parts = [_overview(found)] if len(found) > 1 else []
    for total_steps, alike in groupby(found, lambda table: table.kind.total_steps):
        parts += _beside(total_steps, list(alike))
    parts += [_section(table) for table in found]
    if unfinished := [f"- {line}" for line in missing]:
        parts.append("\n".join(["Not finished:", "", *unfinished]))
    return "\n\n".join(parts)


def _overview(found: Sequence[Table]) -> str:
    lines = [
        f"| settings | precision | steps | games | runs | {' | '.join(AGGREGATES)} |",
        "| --- | --- | --: | --: | --: | " + "--- | " * len(AGGREGATES),
    ]
    for table in found:
        runs = sum(len(row.seeds) for row in table.rows if row.game in table.over.games)
        numbers = [_estimate(table.over.estimates["sampled"].get(name)) for name in AGGREGATES]
        total_steps, settings, precision = table.kind
        cells = [
            settings,
            precision,
            f"{total_steps:,}",
            str(len(table.over.games)),
            str(runs),
            *numbers,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    head = (
        "Human-normalised scores of the sampled policy over the games of each kind of settings; "
        "two kinds\ncompare only where their games are the same:"
    )
    return "\n".join([head, "", *(line.rstrip() for line in lines)])


def _beside(total_steps: int, found: Sequence[Table]) -> list[str]:
    """The scores of games that several kinds of settings have, as a table, if there are any."""
    rows = {(table.kind, row.game): row for table in found for row in table.rows}
    counts = Counter(game for _, game in rows)
    games = [game for game, count in sorted(counts.items()) if count > 1]
    if not games:
        return []
    kinds = [table.kind for table in found]
    names = [kind.variant for kind in kinds]
    lines = [
        f"### {total_steps:,} steps, side by side",
        "",
        "Scores of the sampled policy, and minutes:",
        "",
        f"| game | {' | '.join(names)} |",
        f"| --- |{' --- |' * len(names)}",
    ]
    for game in games:
        cells = [_cell(rows.get((kind, game))) for kind in kinds]
        lines.append(f"| {game} | {' | '.join(cells)} |")
    return ["\n".join(lines)]


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    runs = f", {len(row.seeds)} runs" if len(row.seeds) > 1 else ""
    return f"{_between(row.scores['sampled'])}, {row.minutes:.0f} min{runs}"


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
            cells += [_between(score), _plain(score.human_normalized)]
        lines.append(f"| {' | '.join([*cells, f'{row.minutes:.1f}'])} |")
    if count := len(table.over.games):
        lines += ["", *_aggregates(table.over, f"{count} game{'s' * (count > 1)}")]
    if None not in table.predicted.values():
        numbers = [_plain(table.predicted[policy]) for policy in POLICIES["both"]]
        lines.append(f"| median of 57 games, predicted | {' | '.join(numbers)} |")
    if table.repeated:
        games = f"the {len(table.repeated.games)} games with several seeds"
        lines += ["", *_aggregates(table.repeated, games)]
    if table.machines:
        lines += ["", "Made on, with game and seed:", "", *(f"- {line}" for line in table.machines)]
    return "\n".join(lines)


def _aggregates(over: Over, games: str) -> list[str]:
    lines = [f"| of {games}, human-normalised | sampled | greedy |", "| --- | --- | --- |"]
    for name in AGGREGATES:
        numbers = [_estimate(over.estimates[policy][name]) for policy in POLICIES["both"]]
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    return lines


def _between(score: Score) -> str:
    return f"{points(score.mean)} ({points(score.low)} to {points(score.high)})"


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
