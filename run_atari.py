#!/usr/bin/env python3
"""Train a PPO agent on an Atari game, resume its training, evaluate it, or watch it play."""

import argparse
import sys
import time
from pathlib import Path

import ppo
from ppo import params, presets
from ppo.files import scalars
from ppo.files.folder import FolderError, HoldsNoRun, HoldsRun
from ppo.params import ParamsError
from ppo.process.exit_codes import ExitCode


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code. Settings are read before TensorFlow is."""
    began = time.monotonic()
    options = _parse(arguments)
    try:
        if options.describe_params:
            print(params.describe(), end="")
        elif options.describe_metrics:
            print(scalars.describe(), end="")
        else:
            return _command(options, began)
        return ExitCode.DONE
    except HoldsRun as error:
        remedy = f"resume it with --resume, or choose a free name, such as {error.free}"
        return _fail(ExitCode.REFUSED, f"{error.logdir} holds a run; {remedy}")
    except HoldsNoRun as error:
        return _fail(ExitCode.REFUSED, f"{error}; start one with --pfile=FILE")
    except (ParamsError, FolderError) as error:
        return _fail(ExitCode.REFUSED, str(error))
    except KeyboardInterrupt:
        return _fail(ExitCode.FAILED, "interrupted; nothing was saved")


def _command(options: argparse.Namespace, began: float) -> int:
    from ppo import train
    from ppo.checkpoint import CheckpointError, MisfitError
    from ppo.files.video import VideoError
    from ppo.play.replay import ReplayError

    try:
        if options.pfile:
            _train(options, began)
        elif options.resume:
            train.resume(options.logdir, options.set, began)
        else:
            _play(options)
        return ExitCode.DONE
    except MisfitError as error:
        return _fail(ExitCode.REFUSED, str(error))
    except train.Stopped as error:
        return _fail(ExitCode.STOPPED, str(error))
    except train.Diverged as error:
        return _fail(ExitCode.DIVERGED, str(error))
    except (CheckpointError, ReplayError, VideoError, OSError) as error:
        return _fail(ExitCode.FAILED, str(error))


def _train(options: argparse.Namespace, began: float) -> None:
    from ppo import train
    from ppo.envs import catalog

    settings = params.load(presets.find(options.pfile), options.set, [catalog.check])
    train.run(settings, options.logdir, began)


def _play(options: argparse.Namespace) -> None:
    from ppo.play.show import evaluate_run, watch_run

    if options.evaluate is not None:
        evaluate_run(options.logdir, options.evaluate)
    else:
        watch_run(options.logdir, options.watch)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run_atari.py",
        description=__doc__,
        allow_abbrev=False,
        epilog="Exit codes: 0 done, 1 failed, 2 refused and nothing started, 3 stopped by a signal "
        "with everything saved, 4 diverged.",
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
        "--resume", action="store_true", help="resume from the newest valid checkpoint"
    )
    does.add_argument(
        "--evaluate",
        type=_count,
        nargs="?",
        const=10,
        metavar="GAMES",
        help="play whole games; print and store the scores",
    )
    does.add_argument(
        "--watch", type=_count, nargs="?", const=1, metavar="GAMES", help="record videos"
    )
    does.add_argument(
        "--describe-params",
        action="store_true",
        help="every setting: type, range, default, meaning",
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
        help="change a setting, with --pfile or --resume; may be given several times",
    )
    options = parser.parse_args(arguments)
    if options.logdir is None and not (options.describe_params or options.describe_metrics):
        parser.error("--logdir=DIR is needed")
    if options.set and not (options.pfile or options.resume):
        parser.error("--set goes with --pfile or --resume")
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of games from 1 to 10000")
    return int(text)


def _fail(code: ExitCode, message: str) -> ExitCode:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
