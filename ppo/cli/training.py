"""The commands that train, and their options. TensorFlow is imported after settings are read."""

import functools
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import ppo  # which imports ppo.train when a command uses it
from ppo import params, presets
from ppo.cli.arguments import Command, Conflict, Option, Run, source, whole
from ppo.errors import Refused
from ppo.files.folder import RunFolder, check_run, numbered
from ppo.settings import Params, limits
from ppo.system.arguments import ENV_AND_PFILE, expanded
from ppo.system.signals import on_stop, raise_stop
from ppo.system.streams import say
from ppo.workers.cluster import TF_CONFIG, this_worker

RESTARTS = 3


def training(train: Run) -> Run:
    """Train in the given folder, or else in a new one that is named after the game. With --workers,
    train in several processes, which get the same arguments.
    """

    @functools.wraps(train)
    def run(options: Namespace) -> int | None:
        is_known = options.logdir or options.check
        with nullcontext(options.logdir) if is_known else _new_folder(options) as options.logdir:
            if options.workers == 1:
                return train(options)
            from ppo.workers import launch

            arguments = arguments_of(options)
            return launch.run(options.logdir, arguments, options.workers, options.restarts)

    return run


def arguments_of(options: Namespace) -> list[str]:
    """Return the arguments that each worker gets."""
    return [
        f"--{key.replace('_', '-')}" + ("" if one is True else f"={one}")
        for key, value in options.given.items()
        if key not in ("logdir", "workers", "restarts")
        for one in (value if isinstance(value, list) else [value])
    ]


@contextmanager
def _new_folder(options: Namespace) -> Iterator[Path]:
    if this_worker().count > 1:
        raise Refused("--logdir=DIR is needed if several machines train one run")
    if options.fork:
        check_run(options.fork.run)
        settings = params.load_run(RunFolder(options.fork.run).params)
    else:
        settings = _settings(options)  # checked before the folder is named
    # A stop raises, and removes the folder, until the run handles stops itself.
    with on_stop(raise_stop), numbered(settings.env_id) as logdir:
        say(f"folder: {logdir}")
        yield logdir


@training
def _begin(options: Namespace) -> None:
    if options.check:
        from ppo.preflight.preflight import check

        return check(_settings(options), options.check)
    source, logdir, overrides = options.pfile or {}, options.logdir, options.set
    ppo.train.run(source, logdir, overrides, env=options.env, began=options.began)


def _settings(options: Namespace) -> Params:
    return ppo.train.new_settings(options.pfile or {}, options.set, options.env)


@training
def _resume(options: Namespace) -> None:
    ppo.train.resume(options.logdir, options.set, new_games=options.new_games, began=options.began)


@training
def _fork(options: Namespace) -> None:
    """train from another run's checkpoint: its newest valid one, its best, or a step's"""
    run, which = options.fork
    ppo.train.fork(run, options.logdir, options.set, which, began=options.began)


COMMANDS = (
    Command(
        "pfile",
        _begin,
        f"train with a JSON params file, or with a preset: {', '.join(presets.names())}",
        needs_logdir=False,
        metavar="FILE",
    ),
    Command(
        "env",
        _begin,
        "train on a game with the default settings; vector observations have defaults of their own",
        needs_logdir=False,
        metavar="ID",
    ),
    Command("resume", _resume, "resume from the newest valid checkpoint"),
    Command("fork", _fork, needs_logdir=False, type=source, metavar="RUN[@best|@STEP]"),
)

TRAINING = tuple(command.name for command in COMMANDS)
OPTIONS = (
    Option(
        "set",
        TRAINING,
        "change a setting; may be given more than once, and the last value of a key counts",
        action="append",
        default=[],
        metavar="KEY=VALUE",
    ),
    Option(
        "check",
        ["pfile", "env"],
        "say what will run, and forecast time, memory and disk from a few measured seconds; in "
        "Atari games draw what the network sees (default: preflight.png)",
        type=expanded,
        nargs="?",
        const=Path("preflight.png"),
        metavar="PNG",
    ),
    Option("new-games", ["resume"], "if the unfinished games cannot be restored, begin new ones"),
    Option(
        "workers",
        TRAINING,
        "train in N processes on this machine, each with num_envs games; on several machines "
        "TF_CONFIG or Slurm says which worker each is",
        default=1,
        **whole("number of workers", **limits("workers")),
    ),
    Option(
        "restarts",
        ["workers"],
        "how often to restart all from the newest checkpoint if one dies or halts; default "
        f"{RESTARTS}",
        **whole("number of restarts", 0, 1000),
        default=RESTARTS,
    ),
)

EMPTY = "is empty; is the shell variable set?"
CONFLICTS: tuple[Conflict, ...] = (
    (lambda given: given.pfile == "", f"--pfile {EMPTY}"),
    (lambda given: given.env == "", f"--env {EMPTY}"),
    (lambda given: given.env and given.pfile, ENV_AND_PFILE),
    (
        lambda given: given.env and given.env.endswith(".json"),
        "--env={env}: this is no game; for a file of settings use --pfile={env}",
    ),
    (
        lambda given: given.check and given.workers > 1,
        "--workers does not go with --check, which measures one process",
    ),
    (
        lambda given: given.workers == 1 and {"workers", "restarts"} <= given.given.keys(),
        "--restarts goes with --workers=2 or more",
    ),
    (
        lambda given: given.workers > 1 and os.environ.get(TF_CONFIG),
        "--workers starts workers itself; with TF_CONFIG, leave it out",
    ),
)
