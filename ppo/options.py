"""The options of ``run_atari.py``: what each is, and which go together."""

import argparse
import difflib
import os
from collections.abc import Callable
from pathlib import Path

import ppo
from ppo import presets
from ppo.elsewhere import plain
from ppo.params import answer
from ppo.process import reading
from ppo.process.arguments import expanded
from ppo.process.cluster import TF_CONFIG
from ppo.settings import Params

RESTARTS = 3
EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 refused and nothing started, 3 stopped by a signal with "
    "everything saved, 4 diverged, 5 collapsed again after all rollbacks, with everything saved, "
    "6 another worker of the run was lost, with what was reached saved."
)


def parse(arguments: list[str] | None, description: str | None) -> argparse.Namespace:
    """The arguments, those of the command line if None. Ends the process with one message if they
    make no sense.
    """
    parser = argparse.ArgumentParser(
        prog="run_atari.py", description=description, allow_abbrev=False, epilog=EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"ppo-atari {ppo.__version__}")
    parser.add_argument(
        "--logdir", type=expanded, help="the run's folder; new or empty for training"
    )
    does = parser.add_mutually_exclusive_group(required=True)
    _add_starts(does)
    _add_looks(does)
    _add_lists(does)
    _add_training(parser)
    _add_games(parser.add_argument_group("the games of --evaluate and --watch"))
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(_about_unknown(unknown, [f"--{name}" for name in vars(options)]))
    _check_training(parser, options)
    _check_games(parser, options)
    options.restarts = RESTARTS if options.restarts is None else options.restarts
    return options


def _add_starts(does: argparse._ActionsContainer) -> None:
    """What trains."""
    does.add_argument(
        "--pfile",
        metavar="FILE",
        help=f"train with a JSON params file, or with a preset: {', '.join(presets.names())}",
    )
    does.add_argument(
        "--env",
        metavar="ID",
        help="train on a game with the default settings; with the network mlp where observations "
        "are flat",
    )
    does.add_argument(
        "--resume", action="store_true", help="resume from the newest valid checkpoint"
    )
    does.add_argument(
        "--fork",
        type=_run_and_step,
        metavar="RUN[@STEP]",
        help="train from another run's checkpoint, its newest valid one or that of a step",
    )


def _add_looks(does: argparse._ActionsContainer) -> None:
    """What looks at a run, or takes something from it."""
    does.add_argument(
        "--evaluate",
        type=_whole("number of games", 1, 10_000),
        nargs="?",
        const=10,
        metavar="GAMES",
        help="play whole games; print and store the scores; also while the run trains",
    )
    does.add_argument(
        "--watch",
        type=_whole("number of games", 1, 10_000),
        nargs="?",
        const=1,
        metavar="GAMES",
        help="record videos of whole games beside what the network sees, does and expects; also "
        "while the run trains",
    )
    does.add_argument(
        "--film",
        action="store_true",
        help="one video of how it learnt: clips of the training's own games beside the learning "
        "curve up to their step",
    )
    does.add_argument(
        "--export",
        metavar="FILE",
        help="write the network for use without this package: FILE.keras, FILE.onnx, or FOLDER/ "
        "for a SavedModel",
    )
    does.add_argument(
        "--explain",
        action="store_true",
        help="from the run's log: did the policy fall, when, how far, and what came first",
    )
    does.add_argument(
        "--report",
        type=expanded,
        nargs="*",
        metavar="RUN",
        help="write report.html, of this run and any others beside it, and a model card",
    )
    does.add_argument(
        "--board",
        action="store_true",
        help="TensorBoard of a run, or of all runs in a folder, with the main charts first",
    )


def _add_lists(does: argparse._ActionsContainer) -> None:
    """What needs no run."""
    does.add_argument(
        "--describe-params",
        nargs="?",
        const="list",
        choices=["list", "schema"],
        help="every setting: type, range, default, meaning; or a JSON schema of them, for editors",
    )
    does.add_argument(
        "--describe-presets",
        action="store_true",
        help="every preset: its game, and the score that it was measured to reach, in which time",
    )
    does.add_argument(
        "--describe-metrics",
        action="store_true",
        help="every scalar: unit, meaning, healthy range, remedy",
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    """How it trains."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, with --pfile, --env, --resume or --fork; may be given more than "
        "once",
    )
    parser.add_argument(
        "--check",
        type=expanded,
        nargs="?",
        const=Path("preflight.png"),
        metavar="PNG",
        help="with --pfile or --env: say what will run, forecast time, memory and disk from a few "
        "measured seconds, and draw what the network sees (default: preflight.png)",
    )
    parser.add_argument(
        "--new-games",
        action="store_true",
        help="with --resume: if the unfinished games cannot be restored, begin new ones",
    )
    parser.add_argument(
        "--workers",
        type=_whole("number of workers", 1, 1024),
        default=1,
        metavar="N",
        help="train in N processes on this machine, each with num_envs games; on several machines "
        "TF_CONFIG or Slurm says which worker each is",
    )
    parser.add_argument(
        "--restarts",
        type=_whole("number of restarts", 0, 1000),
        default=None,
        metavar="N",
        help="with --workers: how often all start again from the newest checkpoint when one dies "
        f"or hangs; default {RESTARTS}",
    )


def _add_games(games: argparse._ActionsContainer) -> None:
    """Which games are played, and how they look."""
    games.add_argument(
        "--checkpoint",
        type=_which,
        metavar="newest|best|STEP",
        help="whose policy plays; default newest",
    )
    games.add_argument(
        "--policy",
        choices=["sampled", "greedy", "both"],
        help="how it chooses actions; default both for --evaluate, sampled for --watch",
    )
    games.add_argument(
        "--seed",
        type=_whole("whole number", 0, 2**31 - 1),
        metavar="N",
        help="which games; default: new ones each time",
    )
    games.add_argument(
        "--plain", action="store_true", help="with --watch: the game's picture alone"
    )
    games.add_argument(
        "--gif",
        type=_whole("number of seconds", 1, 600),
        metavar="SECONDS",
        help="with --watch: the end of each video also as a GIF, for a page",
    )


def _check_training(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    new = options.pfile or options.env
    for name in ("pfile", "env"):
        if vars(options)[name] == "":
            parser.error(f"--{name} is empty; if it comes from a variable, that is not set")
    if options.check and not new:
        parser.error("--check goes with --pfile or --env")
    describes = options.describe_params or options.describe_presets or options.describe_metrics
    if options.logdir is None and not (options.check or describes):
        parser.error("--logdir=DIR is needed")
    if options.set and not (new or options.resume or options.fork):
        parser.error("--set goes with --pfile, --env, --resume or --fork")
    if options.env and any(text.startswith("env_id=") for text in options.set):
        parser.error("--env and --set env_id both name the game; leave one of them out")
    if options.new_games and not options.resume:
        parser.error("--new-games goes with --resume")
    if options.workers > 1 and not (new or options.resume or options.fork):
        parser.error("--workers goes with --pfile, --env, --resume or --fork")
    if options.workers > 1 and options.check:
        parser.error("--workers does not go with --check, which measures one process")
    if options.workers > 1 and os.environ.get(TF_CONFIG):
        parser.error("--workers starts workers itself; with TF_CONFIG, leave it out")
    if options.restarts is not None and options.workers == 1:
        parser.error("--restarts goes with --workers")


def _about_unknown(arguments: list[str], known: list[str]) -> str:
    """What to write in place of arguments that do not exist: most are settings, by our names or by
    another package's.
    """
    options = [text for text in arguments if text.startswith("--")]
    if not options:
        return f"unrecognized arguments: {' '.join(arguments)}"
    return "\n".join(_about_option(text, known) for text in options)


def _about_option(text: str, known: list[str]) -> str:
    name, _, value = text.removeprefix("--").partition("=")
    if (setting := plain(name)) in Params.model_fields:
        return f"--{name}: write --set {setting}={value or 'VALUE'}"
    if near := difflib.get_close_matches(f"--{plain(name)}", known, n=1, cutoff=0.8):
        return f"--{name}: there is no such argument; did you mean {near[0].replace('_', '-')}?"
    try:
        read = reading.parse(value)
    except ValueError:
        read = value
    return f"--{name}: settings are given by --set KEY=VALUE; {answer(name, {name: read})}"


def _check_games(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    plays = options.evaluate is not None or options.watch is not None
    if options.seed is not None and (options.pfile or options.env or options.fork):
        parser.error(f"--seed goes with --evaluate or --watch; to train: --set seed={options.seed}")
    for name in ("checkpoint", "policy", "seed"):
        if vars(options)[name] is not None and not plays:
            parser.error(f"--{name} goes with --evaluate or --watch")
    for name in ("plain", "gif"):
        if vars(options)[name] and options.watch is None:
            parser.error(f"--{name} goes with --watch")


def _run_and_step(text: str) -> tuple[Path, int | None]:
    """A run's folder, and the step behind the last @ if a number stands there."""
    run, at, number = text.rpartition("@")
    step = _step(number)
    return (expanded(text), None) if step is None or not at else (expanded(run), step)


def _step(text: str) -> int | None:
    digits = text.replace(",", "").replace("_", "")
    return int(digits) if digits.isdecimal() else None


def _which(text: str) -> str | int:
    step = _step(text)
    if step is None and text not in ("newest", "best"):
        raise argparse.ArgumentTypeError(f"{text} is neither newest nor best nor a step")
    return text if step is None else step


def _whole(what: str, least: int, most: int) -> Callable[[str], int]:
    """A type of arguments: ``what``, a whole number from the least to the most."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a {what} from {least} to {most}")
        return int(text)

    return read
