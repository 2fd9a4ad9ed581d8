"""The commands that print a list and need no run."""

from argparse import Namespace

from ppo import presets
from ppo.cli.arguments import Command
from ppo.settings import describe
from ppo.system import tables
from ppo.telemetry import scalars


def _describe_params(options: Namespace) -> None:
    if options.describe_params == "schema":
        print(describe.schema(), end="")
    else:
        tables.show_list(describe.text(), describe.entries())


COMMANDS = (
    Command(
        "describe-params",
        _describe_params,
        "every setting: type, range, default, meaning; or a JSON schema of them, for editors",
        needs_logdir=False,
        nargs="?",
        const="list",
        choices=["list", "schema"],
    ),
    Command(
        "describe-presets",
        lambda _: tables.show_list(presets.describe(), presets.entries()),
        "every preset: its game, the score that it was measured to reach, and the time",
        needs_logdir=False,
    ),
    Command(
        "describe-metrics",
        lambda _: tables.show_list(scalars.describe(), scalars.entries()),
        "every scalar: unit, meaning, healthy range, remedy",
        needs_logdir=False,
    ),
)
