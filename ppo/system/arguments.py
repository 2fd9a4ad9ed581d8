"""How the commands of this package read their arguments, and how they were called."""

import argparse
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

from ppo.errors import ExitCode, Refused
from ppo.system.own_modules import python_path
from ppo.system.streams import say

CALLED = "PPO_CALLED"  # tells a worker how its starter was called
ENV_AND_PFILE = (
    "argument --env: not allowed with argument --pfile; give one of them. For another game with "
    "the settings of a file: --set env_id=ID"
)


class _Once(argparse.Action):
    """Store the value of an option that may be given once."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        if getattr(namespace, self.dest, self.default) is not self.default:
            parser.error(f"{option} is given twice")
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser with two lines for a wrong argument, plain texts and no abbreviations. An option
    that is given twice is an error, unless its values are collected.
    """

    def __init__(self, prog: str, **texts: Any):
        plain = argparse.RawDescriptionHelpFormatter
        super().__init__(prog, **texts, formatter_class=plain, allow_abbrev=False)
        self.register("action", None, _Once)

    def error(self, message: str) -> NoReturn:
        """Print the message and where the help is, and end the process."""
        say(f"error: {message}\nsee: {self.prog} --help", sys.stderr)
        self.exit(ExitCode.REFUSED)


def argument_parser(module: str, description: str | None, epilog: str | None = None) -> Parser:
    """Return a parser for ``python -m MODULE``."""
    return Parser(f"python -m {module}", description=description, epilog=epilog)


def run_atari() -> str:
    """Return the words that call ``run_atari`` in a shell, with the user's PYTHONPATH if needed."""
    return f"{python_path()}{called()}"


def called() -> str:
    """Return how this process was called, or else how a shell can call it."""
    if words := os.environ.get(CALLED):
        return words
    script = Path(sys.argv[0])
    if script.name == "run_atari.py":
        return f"python {shlex.quote(str(script))}"
    installed = Path(sys.executable).with_name("run_atari").exists()
    return "run_atari" if installed or script.name == "run_atari" else "python run_atari.py"


class EmptyPath(Refused, argparse.ArgumentTypeError):
    """A path is an empty text, which would otherwise mean the current folder."""


def expanded(path: str | Path) -> Path:
    """Replace ``~`` by the home folder, which shells keep in ``--logdir=~/x``. Raises EmptyPath."""
    if path == "":
        raise EmptyPath("the path is empty; is its variable set?")
    return Path(os.path.expanduser(path))


def positive(text: str) -> int:
    """Read a number of 1 or more, of at most ten digits."""
    if not re.fullmatch("[0-9]{1,10}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a number of 1 or more")
    return int(text)
