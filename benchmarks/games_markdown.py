"""The table of ``benchmarks.games`` as a part of a page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from benchmarks.aggregates import AGGREGATES, Estimate
from benchmarks.games_table import Over, Row, Score, Table
from ppo.settings.fields import CHOICES
from ppo.system import tables
from ppo.system.streams import counted


def markdown(by_kind: Sequence[Table], missing: Iterable[str]) -> str:
    """Return the tables as a part of a page, after an overview of all kinds. Kinds with the same
    steps are compared side by side.
    """
    parts = [_overview(by_kind)] if len(by_kind) > 1 else []
    for total_steps, alike in groupby(by_kind, lambda table: table.kind.total_steps):
        parts += _beside(total_steps, list(alike))
    parts += [_section(table) for table in by_kind]
    if unfinished := [f"- {line}" for line in missing]:
        parts.append("\n".join(["Not finished:", "", *unfinished]))
    return "\n\n".join(parts)


def _overview(by_kind: Sequence[Table]) -> str:
    rows = []
    for table in by_kind:
        runs = sum(len(row.seeds) for row in table.rows if row.game in table.over.games)
        numbers = [_estimate(table.over.estimates["sampled"].get(name)) for name in AGGREGATES]
        total_steps, settings, precision = table.kind
        games = str(len(table.over.games))
        rows.append([settings, precision, f"{total_steps:,}", games, str(runs), *numbers])
    head = ["settings", "precision", "steps", "games", "runs", *AGGREGATES]
    return (
        "Human-normalised scores of the sampled policy over the games of each kind of settings; "
        "compare two kinds only if their\ngames are the same:\n\n"
    ) + tables.markdown(head, rows, "llrrr").rstrip()


def _beside(total_steps: int, by_kind: Sequence[Table]) -> list[str]:
    """The scores of games that several kinds of settings have, as a table, if there are any."""
    rows = {(table.kind, row.game): row for table in by_kind for row in table.rows}
    counts = Counter(game for _, game in rows)
    games = [game for game, count in sorted(counts.items()) if count > 1]
    if not games:
        return []
    kinds = [table.kind for table in by_kind]
    names = [kind.variant for kind in kinds]
    shown = [[game, *(cell(rows.get((kind, game))) for kind in kinds)] for game in games]
    head = (
        f"### {total_steps:,} steps, side by side\n\nScores of the sampled policy, and minutes:\n\n"
    )
    return [head + tables.markdown(["game", *names], shown).rstrip()]


def cell(row: Row | None) -> str:
    """Return the sampled score, the minutes, and the number of runs if there are several."""
    if row is None:
        return "-"
    runs = f", {len(row.seeds)} runs" if len(row.seeds) > 1 else ""
    return f"{between(row.scores['sampled'])}, {row.minutes:.0f} min{runs}"


def _section(table: Table) -> str:
    rows = []
    for row in table.rows:
        cells = [row.game, ", ".join(map(str, row.seeds))]
        sampled, greedy = row.scores["sampled"], row.scores["greedy"]
        cells += [between(sampled), _plain(sampled.human_normalized), points(greedy.mean)]
        # Games of a deterministic emulator repeat themselves, so an interval would be wrong.
        cells += [", ".join(map(str, greedy.distinct)), _plain(greedy.human_normalized)]
        rows.append([*cells, f"{row.minutes:.1f}"])
    normalised = "human-normalised"
    head = ["game", "seeds", "sampled", normalised, "greedy", "distinct", normalised, "minutes"]
    parts = [f"### {table.kind}\n", tables.markdown(head, rows, "lllrrlrr")]
    predicted = [table.predicted[policy] for policy in CHOICES]
    more = [] if None in predicted else [["median of 57 games, predicted", *map(_plain, predicted)]]
    if count := len(table.over.games):
        parts.append(_aggregates(table.over, counted(count, "game"), more))
    if table.repeated:
        games = f"the {len(table.repeated.games)} games with several seeds"
        parts.append(_aggregates(table.repeated, games))
    if table.machines:
        parts += ["Machine and day, game and seed:\n", *(f"- {line}" for line in table.machines)]
    return "\n".join(parts).rstrip()


def _aggregates(over: Over, games: str, more: Sequence[Sequence[str]] = ()) -> str:
    greedy = over.estimates["greedy"]
    rows = [
        [name, _estimate(over.estimates["sampled"][name]), _plain(greedy[name].value)]
        for name in AGGREGATES
    ]
    head = [f"of {games}, human-normalised", "sampled", "greedy"]
    return tables.markdown(head, [*rows, *more])


def between(score: Score) -> str:
    """A mean with its interval; equal scores have none."""
    low, high = points(score.low), points(score.high)
    return points(score.mean) + f" ({low} to {high})" * (low != high)


def points(score: float) -> str:
    """Format a score, with one decimal below 1,000."""
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
