"""The commands that inspect a run, export from it, or print a list, and their options."""

from argparse import Namespace
from typing import Any

from ppo import presets
from ppo.cli.arguments import Command, Conflict, Option, which_checkpoint, whole
from ppo.files.folder import check_run, check_unmoved
from ppo.files.lock import visited
from ppo.settings import describe, limits
from ppo.settings.fields import CHOICES, SEEDS, Choice
from ppo.system import tables
from ppo.system.arguments import expanded
from ppo.system.signals import stop_interrupts
from ppo.system.streams import say
from ppo.telemetry import scalars

POLICIES: dict[str, tuple[Choice, ...]] = {choice: (choice,) for choice in CHOICES}
POLICIES["both"] = CHOICES


@stop_interrupts()
def _evaluate(options: Namespace) -> None:
    """play whole games, by default 10; print and store the scores; also while the run trains"""
    from ppo.evaluate.games import evaluate_run

    evaluate_run(options.logdir, options.evaluate, **_played(options, "both"))


@stop_interrupts()
def _watch(options: Namespace) -> None:
    """record videos of whole games, by default 1, beside what the network sees, does and expects;
    also while the run trains
    """
    from ppo.evaluate.watch import watch_run

    look = {"plain": options.plain, "gif_seconds": float(options.gif or 0)}
    watch_run(options.logdir, options.watch, **_played(options, "sampled"), **look)


def _played(options: Namespace, policy: str) -> dict[str, Any]:
    """Return what is played, under the argument names of evaluate_run and watch_run."""
    return {
        "policies": POLICIES[options.policy or policy],
        "which": options.checkpoint,
        "seed": options.seed,
    }


@stop_interrupts()
def _film(options: Namespace) -> None:
    """one video of the whole training: clips of its games beside the learning curve"""
    from ppo.evaluate.film import film

    film(options.logdir)


@stop_interrupts()
def _export(options: Namespace) -> None:
    """write the network for use without this package: FILE.keras, FILE.onnx, or FOLDER/ for a
    SavedModel
    """
    from ppo.evaluate.export import export_run

    export_run(options.logdir, options.export, options.checkpoint)


@stop_interrupts()
def _explain(options: Namespace) -> None:
    """from the run's log: did the policy collapse, when, how far, and what came first"""
    from ppo.autopsy.explain import explain

    print(explain(options.logdir), end="")


@stop_interrupts()
def _report(options: Namespace) -> None:
    """write report.html, of this run and of the runs named after --report, and a model card"""
    from ppo.report import card, report

    logdir = options.logdir
    check_run(logdir)
    with visited(logdir) as run:
        report.write([logdir, *options.report], run.path / report.REPORT)
        check_unmoved(run, logdir)  # the data may come from another run
        say(f"the report is {logdir / report.REPORT}")
        card.write(logdir, run.path / "card")
        check_unmoved(run, logdir)
    say(f"the model card is in {logdir / 'card'}")


def _board(options: Namespace) -> None:
    """TensorBoard of a run, or of all runs in a folder, with the main charts first"""
    from ppo.report import board

    board.show(options.logdir, options.host, options.port)


def _describe_params(options: Namespace) -> None:
    if options.describe_params == "schema":
        print(describe.schema(), end="")
    else:
        tables.show_list(describe.entries(), describe.text())


GAMES = {"nargs": "?"} | whole("number of games", **limits("evaluation_games"), metavar="GAMES")

COMMANDS = (
    Command("evaluate", _evaluate, const=10, **GAMES),
    Command("watch", _watch, const=1, **GAMES),
    Command("film", _film),
    Command("export", _export, metavar="FILE"),
    Command("explain", _explain),
    Command("report", _report, type=expanded, nargs="*", metavar="RUN"),
    Command("board", _board),
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
        lambda _: tables.show_list(presets.entries()),
        "every preset: its game, the score that it was measured to reach, and the time",
        needs_logdir=False,
    ),
    Command(
        "describe-metrics",
        lambda _: tables.show_list(scalars.entries(), scalars.describe()),
        "every scalar: unit, meaning, healthy range, remedy",
        needs_logdir=False,
    ),
)

PLAYING = ("evaluate", "watch")
OPTIONS = (
    Option(
        "checkpoint",
        (*PLAYING, "export"),
        "which checkpoint; default newest",
        type=which_checkpoint,
        default="newest",
        metavar="newest|best|STEP",
    ),
    Option(
        "policy",
        PLAYING,
        "how to choose actions; default both for --evaluate, sampled for --watch",
        choices=list(POLICIES),
    ),
    Option(
        "seed",
        PLAYING,
        "seed of the games; default: new games each time",
        **whole("whole number", 0, SEEDS - 1),
    ),
    Option("plain", ["watch"], "the game's image alone"),
    Option("host", ["board"], "name or address to serve at; default localhost", metavar="NAME"),
    Option(
        "port",
        ["board"],
        "port to serve at; default: the first free one from 6006 on",
        **whole("port", 1, 65535),
    ),
    Option(
        "gif",
        ["watch"],
        "the end of each video also as a GIF, for a page",
        **whole("number of seconds", 1, 600, "SECONDS"),
    ),
)

CONFLICTS: tuple[Conflict, ...] = (
    (
        lambda given: given.seed is not None and (given.pfile or given.env or given.fork),
        "--seed goes with --evaluate or --watch; to train: --set seed={seed}",
    ),
)
