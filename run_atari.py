#!/usr/bin/env python3
"""Train a PPO agent on an Atari game, resume its training, evaluate it, or watch it play."""

import argparse
import os
import sys
import time
from pathlib import Path

import ppo
from ppo import described, listing, params, presets, schema
from ppo.files import scalars
from ppo.files.folder import FolderError, HoldsNoRun, HoldsRun
from ppo.params import ParamsError
from ppo.process.cluster import TF_CONFIG
from ppo.process.exit_codes import ExitCode
from ppo.process.streams import discard, make_safe
from ppo.settings import Params

RESTARTS = 3


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code. Settings are read before TensorFlow is."""
    began = time.monotonic()
    make_safe()
    options = _parse(arguments)
    try:
        code = _answer(options, began)
        sys.stdout.flush()
        return code
    except OSError as error:  # what was printed did not arrive
        discard(sys.stdout)
        if isinstance(error, BrokenPipeError):  # whoever read it has enough
            return ExitCode.DONE
        return _fail(ExitCode.FAILED, _reason(error))


def _answer(options: argparse.Namespace, began: float) -> int:
    try:
        if options.check:
            return _checked(options)
        if options.explain or options.report is not None:
            print(_told(options), end="")
        elif options.board:
            from ppo.study import board

            board.show(options.logdir)
        elif options.describe_params == "schema":
            print(schema.describe(), end="")
        elif options.describe_params:
            listing.show(described.text(), described.entries())
        elif options.describe_presets:
            listing.show(presets.describe(), presets.entries())
        elif options.describe_metrics:
            listing.show(scalars.describe(), scalars.entries())
        else:
            return _command(options, began)
        return ExitCode.DONE
    except HoldsRun as error:
        remedy = f"resume it with --resume, or choose a free name, such as {error.free}"
        return _fail(ExitCode.REFUSED, f"{error.logdir} holds a run; {remedy}")
    except HoldsNoRun as error:
        return _fail(ExitCode.REFUSED, f"{error}; start one with --pfile=FILE or --env=ID")
    except (ParamsError, FolderError) as error:
        return _fail(ExitCode.REFUSED, str(error))
    except MemoryError as error:
        return _fail(ExitCode.FAILED, f"out of memory: {error}" if str(error) else "out of memory")
    except KeyboardInterrupt:
        return _fail(ExitCode.FAILED, "interrupted; whole files are kept")


def _told(options: argparse.Namespace) -> str:
    """What the files of a run tell: its explanation, or where its report is."""
    from ppo.study.history import HistoryError

    try:
        if options.explain:
            from ppo.study.explain import explain

            return explain(options.logdir)
        from ppo.study import card, report

        page, folder = options.logdir / report.REPORT, options.logdir / "card"
        report.write([options.logdir, *options.report], page)
        card.write(options.logdir, folder)
        return f"the report is {page}, the model card in {folder}\n"
    except HistoryError as error:
        raise FolderError(str(error)) from error


def _checked(options: argparse.Namespace) -> int:
    from ppo.study.preflight import check
    from ppo.study.probe import ProbeError

    try:
        check(_settings(options), options.check)
    except ProbeError as error:
        return _fail(error.code, str(error))
    return ExitCode.DONE


def _launch(options: argparse.Namespace) -> int:
    """Train in several processes, each of which gets what was given here."""
    from ppo.study.workers import Launch

    if options.resume:
        begin = ["--resume"]
    elif options.fork:
        run, step = options.fork
        begin = [f"--fork={run}" if step is None else f"--fork={run}@{step}"]
    else:
        begin = [f"--pfile={options.pfile}" if options.pfile else f"--env={options.env}"]
    begin += [f"--set={change}" for change in options.set]
    begin += ["--new-games"] if options.new_games else []
    return Launch(options.logdir, begin, options.workers, options.restarts).go()


def _command(options: argparse.Namespace, began: float) -> int:
    from ppo import train
    from ppo.checkpoint import CheckpointError, MisfitError, NewerVersionError, NoCheckpoint
    from ppo.envs.episode import EpisodeMismatch
    from ppo.files.video import VideoError
    from ppo.outcomes import NotFinite, WorkerLost, WorkersDiffer
    from ppo.play.export import ExportError
    from ppo.play.replay import ReplayError
    from ppo.process.cluster import ClusterError
    from ppo.process.device import DeviceError

    try:
        if options.workers > 1:
            return _launch(options)
        if options.pfile or options.env:
            _train(options, began)
        elif options.fork:
            source, step = options.fork
            train.fork(source, options.logdir, options.set, step, began)
        elif options.resume:
            train.resume(options.logdir, options.set, began, options.new_games)
        elif options.film:
            from ppo.study.film import film

            film(options.logdir)
        else:
            _play(options)
        return ExitCode.DONE
    except (DeviceError, MisfitError, NewerVersionError, NoCheckpoint) as error:
        return _fail(ExitCode.REFUSED, str(error))
    except (ClusterError, WorkersDiffer) as error:
        return _fail(ExitCode.REFUSED, str(error))
    except WorkerLost as error:
        return _fail(ExitCode.LOST, f"{error}; what was reached is saved, --resume goes on")
    except EpisodeMismatch as error:
        remedy = "--resume --new-games begins new ones in their place, no longer bit for bit"
        return _fail(ExitCode.REFUSED, f"{error}; nothing was changed. {remedy}")
    except NotFinite as error:
        return _fail(ExitCode.DIVERGED, str(error))
    except train.Stopped as error:
        return _fail(ExitCode.STOPPED, str(error))
    except train.Diverged as error:
        return _fail(ExitCode.DIVERGED, str(error))
    except train.Collapsed as error:
        return _fail(ExitCode.COLLAPSED, str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(ExitCode.FAILED, _reason(error))
    except (CheckpointError, ExportError, ReplayError, VideoError) as error:
        return _fail(ExitCode.FAILED, str(error))


def _reason(error: OSError) -> str:
    """What the system says, and about which file."""
    if error.strerror is None or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _train(options: argparse.Namespace, began: float) -> None:
    from ppo import train

    train.run(_settings(options), options.logdir, began)


def _settings(options: argparse.Namespace) -> Params:
    from ppo.envs import catalog

    if options.env:
        network = catalog.network_for(options.env)
        return params.of_game(options.env, network, options.set, [catalog.check])
    return params.load(presets.find(options.pfile), options.set, [catalog.check])


def _play(options: argparse.Namespace) -> None:
    from ppo.play.export import export_run
    from ppo.play.games import POLICIES
    from ppo.play.show import evaluate_run
    from ppo.play.watch import watch_run

    which = {"which": options.checkpoint} if options.checkpoint is not None else {}
    if options.evaluate is not None:
        policies = POLICIES[options.policy or "both"]
        evaluate_run(options.logdir, options.evaluate, policies, seed=options.seed, **which)
    elif options.export is not None:
        export_run(options.logdir, options.export)
    else:
        policies = POLICIES[options.policy or "sampled"]
        look = {"plain": options.plain, "gif_seconds": options.gif or 0.0}
        watch_run(options.logdir, options.watch, policies, seed=options.seed, **which, **look)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run_atari.py",
        description=__doc__,
        allow_abbrev=False,
        epilog="Exit codes: 0 done, 1 failed, 2 refused and nothing started, 3 stopped by a signal "
        "with everything saved, 4 diverged, 5 collapsed again after all rollbacks, with everything "
        "saved, 6 another worker of the run was lost, with what was reached saved.",
    )
    parser.add_argument("--version", action="version", version=f"ppo-atari {ppo.__version__}")
    parser.add_argument("--logdir", type=Path, help="the run's folder; new or empty for training")
    does = parser.add_mutually_exclusive_group(required=True)
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
    does.add_argument(
        "--evaluate",
        type=_count,
        nargs="?",
        const=10,
        metavar="GAMES",
        help="play whole games; print and store the scores; also while the run trains",
    )
    does.add_argument(
        "--watch",
        type=_count,
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
        type=Path,
        nargs="*",
        metavar="RUN",
        help="write report.html, of this run and any others beside it, and a model card",
    )
    does.add_argument(
        "--board",
        action="store_true",
        help="TensorBoard of a run, or of all runs in a folder, with the main charts first",
    )
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
        type=Path,
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
        type=_workers,
        default=1,
        metavar="N",
        help="train in N processes on this machine, each with num_envs games; on several machines "
        "TF_CONFIG or Slurm says which worker each is",
    )
    parser.add_argument(
        "--restarts",
        type=_restarts,
        default=None,
        metavar="N",
        help="with --workers: how often all start again from the newest checkpoint when one dies "
        f"or hangs; default {RESTARTS}",
    )
    games = parser.add_argument_group("the games of --evaluate and --watch")
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
        "--seed", type=_seed, metavar="N", help="which games; default: new ones each time"
    )
    games.add_argument(
        "--plain", action="store_true", help="with --watch: the game's picture alone"
    )
    games.add_argument(
        "--gif",
        type=_seconds,
        metavar="SECONDS",
        help="with --watch: the end of each video also as a GIF, for a page",
    )
    options = parser.parse_args(arguments)
    new = options.pfile or options.env
    if options.check and not new:
        parser.error("--check goes with --pfile or --env")
    describes = options.describe_params or options.describe_presets or options.describe_metrics
    if options.logdir is None and not (options.check or describes):
        parser.error("--logdir=DIR is needed")
    if options.set and not (new or options.resume or options.fork):
        parser.error("--set goes with --pfile, --env, --resume or --fork")
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
    options.restarts = RESTARTS if options.restarts is None else options.restarts
    plays = options.evaluate is not None or options.watch is not None
    for name in ("checkpoint", "policy", "seed"):
        if vars(options)[name] is not None and not plays:
            parser.error(f"--{name} goes with --evaluate or --watch")
    for name in ("plain", "gif"):
        if vars(options)[name] and options.watch is None:
            parser.error(f"--{name} goes with --watch")
    return options


def _run_and_step(text: str) -> tuple[Path, int | None]:
    """A run's folder, and the step behind the last @ if a number stands there."""
    run, at, number = text.rpartition("@")
    step = _step(number)
    return (Path(text), None) if step is None or not at else (Path(run), step)


def _step(text: str) -> int | None:
    digits = text.replace(",", "").replace("_", "")
    return int(digits) if digits.isdecimal() else None


def _which(text: str) -> str | int:
    step = _step(text)
    if step is None and text not in ("newest", "best"):
        raise argparse.ArgumentTypeError(f"{text} is neither newest nor best nor a step")
    return text if step is None else step


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 2147483647")
    return int(text)


def _seconds(text: str) -> float:
    if not text.isdecimal() or not 1 <= int(text) <= 600:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 1 to 600")
    return float(text)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text} is not a number of workers from 1 to 1024")
    return int(text)


def _restarts(text: str) -> int:
    if not text.isdecimal() or int(text) > 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of restarts from 0 to 1000")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of games from 1 to 10000")
    return int(text)


def _fail(code: ExitCode, message: str) -> ExitCode:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
