"""Read a command line: one command and the options that belong to it."""

import argparse
from collections.abc import Sequence

import ppo
from ppo.cli.commands import COMMANDS, CONFLICTS, OPTIONS
from ppo.cli.messages import unknown_arguments
from ppo.system.arguments import expanded

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 refused and nothing started, 3 stopped by a signal with "
    "everything saved, 4 diverged, 5 collapsed again after all rollbacks, with everything saved, "
    "6 another worker of the run was lost, with progress saved."
)


def parse(arguments: Sequence[str] | None, description: str | None = None) -> argparse.Namespace:
    """Return the values of all arguments, with two more. ``command`` is the given command.
    ``given`` has the values that differ from the defaults. Invalid arguments end the process with
    one message. If ``arguments`` is None, read the process's own.
    """
    parser = _parser(description)
    values, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(unknown_arguments(unknown, [key.replace("_", "-") for key in vars(values)]))
    given = {key: value for key, value in vars(values).items() if value != parser.get_default(key)}
    values.given = given
    values.command = next(command for command in COMMANDS if command.key in given)
    if message := next((text for applies, text in CONFLICTS if applies(values)), None):
        parser.error(message.format_map(vars(values)))
    for option in OPTIONS:
        if option.key in given and given.keys().isdisjoint(option.goes_with):
            parser.error(f"--{option.name} goes with {option.companions}")
    if values.command.needs_logdir and "logdir" not in given and "check" not in given:
        parser.error("--logdir=DIR is needed")
    return values


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run_atari.py", description=description, allow_abbrev=False, epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"ppo-atari {ppo.__version__}")
    parser.add_argument(
        "--logdir", type=expanded, help="the run's folder; new or empty for training"
    )
    one_of = parser.add_mutually_exclusive_group(required=True)
    for command in COMMANDS:
        one_of.add_argument(f"--{command.name}", **command.settings)
    for option in OPTIONS:
        parser.add_argument(f"--{option.name}", **option.settings)
    return parser
