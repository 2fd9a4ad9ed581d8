"""Read a command line: one command and the options that belong to it."""

import argparse
import difflib
from collections.abc import Sequence
from typing import Any

import ppo
from ppo.cli import inspection, training
from ppo.cli.arguments import Conflict
from ppo.errors import exit_codes
from ppo.params import answer
from ppo.settings import Params
from ppo.settings.other_names import plain
from ppo.system import reading
from ppo.system.arguments import Parser, expanded, run_atari

COMMANDS = (*training.COMMANDS, *inspection.COMMANDS)
OPTIONS = (*training.OPTIONS, *inspection.OPTIONS)
ONE_COMMAND: Conflict = (
    lambda given: given.commands[1:],
    "argument --{commands[1].name}: not allowed with argument --{commands[0].name}; give one of "
    "them",
)
CONFLICTS = (*training.CONFLICTS, ONE_COMMAND, *inspection.CONFLICTS)
NO_DEFAULT: dict[str, Any] = {"default": argparse.SUPPRESS}  # only what is given is returned

EPILOG = """\
examples:
  {0} --env=Pong
  {0} --env=CartPole-v1 --logdir=runs/pole --set total_steps=50000
  {0} --logdir=runs/pole --resume --set total_steps=200000
  {0} --logdir=runs/Pong-1 --watch
  {0} --logdir=pretrained/pong --evaluate 30
  {0} --logdir=runs --board

other commands, each with its own --help:
  python -m ppo.sweep     many runs side by side: a grid, or a random search
  python -m ppo.autopsy   why a policy collapsed: forks with one change each
  python -m ppo.replay    play recorded games again, and make videos of them
  python -m ppo.drill     kill, stop and damage runs; are the promises kept?

documentation: README.md and docs/ in the repository

{1}
"""


def parse(arguments: Sequence[str] | None, description: str | None = None) -> argparse.Namespace:
    """Return the values of all arguments, with three more. ``commands`` are the given commands, of
    which ``command`` is the only one. ``given`` has the given values, without defaults. Invalid
    arguments end the process with one message. If ``arguments`` is None, read the process's own.
    """
    parser = _parser(description)
    parsed, unknown = parser.parse_known_args(arguments)
    rows = (*COMMANDS, *OPTIONS)
    if unknown:
        known = ["logdir", *(row.name for row in rows)]
        answers = [_unknown(text, known) for text in unknown if text.startswith("--")]
        parser.error("\n".join(answers) or f"unrecognized arguments: {' '.join(unknown)}")
    defaults = {"logdir": None, **{row.key: row.settings.get("default") for row in rows}}
    values = argparse.Namespace(**defaults | vars(parsed))
    given = values.given = {key: value for key, value in vars(values).items() if key in parsed}
    values.commands = [row for key in vars(parsed) for row in COMMANDS if row.key == key]
    if not values.commands:
        parser.error("a command is needed, such as --env=Pong, --resume or --watch")
    values.command = values.commands[0]
    if message := next((text for applies, text in CONFLICTS if applies(values)), None):
        parser.error(message.format_map(vars(values)))
    for option in OPTIONS:
        if option.key in given and given.keys().isdisjoint(option.goes_with):
            parser.error(f"--{option.name} goes with {option.companions}")
    if values.command.needs_logdir and "logdir" not in given:
        parser.error("--logdir=DIR is needed")
    return values


def _parser(description: str | None) -> Parser:
    called = run_atari()
    parser = Parser(
        called,
        description=description,
        epilog=EPILOG.format(called, exit_codes()),
        usage="%(prog)s COMMAND [OPTION ...]",
    )
    parser.add_argument("--version", action="version", version=f"ppo-atari {ppo.__version__}")
    parser.add_argument(
        "--logdir",
        type=expanded,
        **NO_DEFAULT,
        help="the run's folder. A new run needs a new or empty one (default runs/GAME-1, -2, ...)",
    )
    commands = parser.add_argument_group("commands, one of them")
    for command in COMMANDS:
        commands.add_argument(f"--{command.name}", **command.settings | NO_DEFAULT)
    options = parser.add_argument_group("options of these commands")
    for option in OPTIONS:
        options.add_argument(f"--{option.name}", **option.settings | NO_DEFAULT)
    return parser


def _unknown(text: str, known: Sequence[str]) -> str:
    """Say what to write instead of an argument that is not ``known``; most are settings."""
    name, _, value = text.removeprefix("--").partition("=")
    if (setting := plain(name)) in Params.model_fields:
        return f"--{name}: write --set {setting}={value or 'VALUE'}"
    if near := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
        return f"--{name}: there is no such argument; did you mean --{near[0]}?"
    hint = answer(name, {name: reading.parse_or_text(value)})
    return f"--{name}: settings are given by --set KEY=VALUE; {hint}"
