"""The parts of pages that are generated from the command line's parsers and from results."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks import games_markdown, games_store, games_table
from benchmarks.games_results import DEFAULTS, Kind, words
from ppo.autopsy import __main__ as autopsy
from ppo.cli import parser
from ppo.cli.parser import COMMANDS
from ppo.drill import __main__ as drill
from ppo.envs import registry
from ppo.errors import ExitCode
from ppo.replay import __main__ as replay
from ppo.report.published import CURVES, Published
from ppo.settings import Params
from ppo.sweep import __main__ as sweep
from ppo.system import reading, tables

DOCS = Path(__file__).resolve().parent
STEPS = 2_500_000  # of the runs in the main table of games.md
SHOWN = [Kind(STEPS, name, "any") for name in (DEFAULTS, "a3c16")]
NAMES = ("the defaults", "`a3c16`")
PACKAGES = ("baselines ppo2", "Stable-Baselines3", "Tianshou")
COMMANDS_HEAD = """\
# Commands

`run_atari` trains, resumes, evaluates and shows runs. In a clone, `python run_atari.py` is the
same. The other commands are modules of the package, called by `python -m`. Each has `--help`, from
which `python -m docs.generate` writes this page.

## run_atari

`run_atari` needs one of these commands:

"""
EXIT_HEAD = """
### Exit codes

A first Ctrl-C or SIGTERM saves a training and ends it within ten seconds. A second one ends it at
once, with code 1. `--board` ends at the first signal, with code 0. If TensorBoard ends by itself,
`--board` ends with code 1. The other commands of `run_atari` end at the first signal with code 1;
complete files remain.

"""


def commands() -> str:
    """Return the page of all commands."""
    codes = [(str(int(code)), code.meaning) for code in ExitCode]
    names, actions = {command.key for command in COMMANDS}, parser._parser(None)._actions
    page = COMMANDS_HEAD + _table(action for action in actions if action.dest in names)
    page += "\nThe options of these commands:\n\n"
    page += _table(action for action in actions if action.dest not in names)
    page += EXIT_HEAD + tables.markdown(["exit code", "meaning"], codes, "r")
    for module in (sweep, autopsy, replay):
        made = module.command_line()
        page += f"\n## {made.prog}\n\n{made.description}\n{_table(made._actions)}"
    return f"{page}\n## python -m ppo.drill\n\n{drill.__doc__}"


def _table(actions: Iterable[argparse.Action]) -> str:
    rows = [
        (f"`{_form(action)}`", (action.help or "").replace("%%", "%"))
        for action in actions
        if not isinstance(action, argparse._HelpAction)
    ]
    return tables.markdown(["argument", "meaning"], rows)


def _form(action: argparse.Action) -> str:
    """Return an argument as it is written: its name and its value."""
    choices = "|".join(map(str, action.choices or ()))
    named = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar
    value = named or choices or action.dest.upper()
    shown = {0: "", "?": f"[{value}]", "*": f"[{value} ...]", "+": f"{value} ..."}
    value = value if action.nargs is None else shown[action.nargs]
    return " ".join([*action.option_strings, value]).strip()


def scores() -> str:
    """Return the scores of both kinds of settings in each game, beside published ones."""
    head = ["game", *NAMES, *(f"human-normalised, {name}" for name in NAMES), *PACKAGES]
    rows = []
    for game, of_kinds, others in _games():
        normalized = [
            _of(row, lambda row: f"{_score(row).human_normalized:.2f}") for row in of_kinds
        ]
        cells = [games_markdown.cell(row) for row in of_kinds]
        rows.append([words(game), *cells, *normalized, *others])
    return tables.markdown(head, rows, "lll" + "r" * 5).rstrip()


def results() -> str:
    """Return the scores in the games that have published ones, for the README."""
    head = ["game", *NAMES, *PACKAGES, *(f"minutes, {name}" for name in NAMES)]
    rows = []
    for game, of_kinds, others in _games():
        if set(others) != {"-"}:
            points = [_of(row, lambda row: _points(_score(row).mean)) for row in of_kinds]
            minutes = [_of(row, lambda row: f"{row.minutes:.0f}") for row in of_kinds]
            rows.append([words(game), *points, *others, *minutes])
    return tables.markdown(head, rows, "l" + "r" * 7).rstrip()


def _games() -> list[tuple[str, list[games_table.Row | None], list[str]]]:
    """Return for each game the runs of each kind, in either precision, and the published scores at
    the same step.
    """
    stored = games_store.load(DOCS / "games.jsonl")
    runs = [run for each in stored if (run := replace(each, precision="any")).kind in SHOWN]
    published, _ = reading.lines(CURVES, TypeAdapter(Published))
    curves = {(one.game, one.package): one for one in published}
    roms = {run.game: run.rom for run in runs}
    rows = {table.kind: {row.game: row for row in table.rows} for table in games_table.tables(runs)}

    def score(game: str, package: str) -> str:
        curve = curves.get((roms[game] or "", package))
        return _points(curve.score_at(STEPS)) if curve else "-"

    return [
        (
            game,
            [rows.get(kind, {}).get(game) for kind in SHOWN],
            [score(game, package) for package in PACKAGES],
        )
        for game in sorted(roms)
    ]


def _of(row: games_table.Row | None, text: Callable[[games_table.Row], str]) -> str:
    return text(row) if row else "-"


def _score(row: games_table.Row) -> games_table.Score:
    return row.scores["sampled"]


def _points(score: float) -> str:
    return f"{score:,.0f}" if score >= 100 else f"{score:.1f}"


def flat() -> str:
    """Return the settings that ``--env`` chooses for vector observations, beside the defaults."""
    default = {key: field.default for key, field in Params.model_fields.items()}
    short, long = default | registry.FLAT, default | registry.FLAT | registry.LONG
    rows = [
        (f"`{key}`", *(str(settings[key]) for settings in (short, long, default)))
        for key in registry.FLAT | registry.LONG
    ]
    limit = f"limit of {registry.LONG_EPISODE:,} steps or more"
    return tables.markdown(
        ["setting", "vector observations", limit, "default"], rows, "lrrr"
    ).rstrip()
