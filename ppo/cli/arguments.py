"""The parts of the command line, and the types of its values."""

import os
import re
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ppo.system.arguments import expanded
from ppo.system.streams import either, shortened

if TYPE_CHECKING:
    from ppo.checkpoint import Which

NAMED = ("newest", "best")
MOST_DIGITS = 18  # of a number; no step has more

Run = Callable[[Namespace], int | None]
# Whether arguments contradict each other, and the message; {name} is the value of --name.
Conflict = tuple[Callable[[Namespace], object], str]


class Command:
    """A command. ``run`` performs it and returns the exit code, or None for 0. Its docstring is the
    default help. ``settings`` are for argparse; without any, the command takes no value.
    """

    def __init__(
        self, name: str, run: Run, help: str = "", needs_logdir: bool = True, **settings: Any
    ):
        self.name, self.run, self.needs_logdir = name, run, needs_logdir
        self.key = name.replace("-", "_")
        help = help or " ".join((run.__doc__ or "").split())
        self.settings = {"help": help, **(settings or {"action": "store_true", "default": False})}


class Option:
    """An option of the commands or options that ``goes_with`` names."""

    def __init__(self, name: str, goes_with: Sequence[str], help: str, **settings: Any):
        self.name, self.goes_with = name, goes_with
        self.key = name.replace("-", "_")
        self.companions = either([f"--{companion}" for companion in goes_with])
        help = f"with {self.companions}: {help}"
        self.settings = {"help": help, **(settings or {"action": "store_true", "default": False})}


class Source(NamedTuple):
    """A run to fork, and which of its checkpoints."""

    run: Path
    which: "Which"

    def __str__(self) -> str:
        return f"{self.run}@{self.which}"


def source(text: str) -> Source:
    """Read RUN, or RUN@ and "newest", "best" or a step. A run whose name ends like that needs a
    slash: x@1/ is the newest checkpoint of the run x@1.
    """
    run, at, which = text.rpartition("@")
    exists = os.path.isdir(os.path.expanduser(run)) and not os.path.lexists(expanded(text))
    if at and (exists or which in NAMED or which.isdecimal() or _step(which) is not None):
        return Source(expanded(run), which_checkpoint(which))
    return Source(expanded(text), "newest")


def which_checkpoint(text: str) -> "Which":
    """Read "newest", "best" or a step."""
    which = cast("Which", text) if text in NAMED else _step(text)
    if which is None:
        raise ArgumentTypeError(f"{shortened(text)} is neither newest nor best nor a step")
    return which


def whole(what: str, ge: int, le: int, metavar: str = "N") -> dict[str, Any]:
    """Return settings for argparse of a whole number from ``ge`` to ``le``."""

    def read(text: str) -> int:
        if not re.fullmatch(f"[0-9]{{1,{MOST_DIGITS}}}", text) or not ge <= int(text) <= le:
            raise ArgumentTypeError(f"{shortened(text)} is not a {what} from {ge} to {le}")
        return int(text)

    return {"type": read, "metavar": metavar}


def _step(text: str) -> int | None:
    digits = text.replace(",", "").replace("_", "")
    return int(digits) if re.fullmatch(f"[0-9]{{1,{MOST_DIGITS}}}", digits) else None
