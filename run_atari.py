#!/usr/bin/env python3
"""Train a PPO agent on an Atari game, go on with it, evaluate it, or watch it play."""

import argparse
import sys
import time
from pathlib import Path

from ppo import glossary
from ppo import params as settings
from ppo.folder import FolderError, RunFolder, check_new, check_run
from ppo.params import ParamsError
from ppo.signals import SAVED as STOPPED

DONE, FAILED, REFUSED, DIVERGED = 0, 1, 2, 4


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code. Settings are read before TensorFlow is."""
    began = time.monotonic()
    options = _parse(arguments)
    try:
        if options.describe_params:
            print(settings.describe(), end="")
            return DONE
        if options.describe_metrics:
            print(glossary.describe(), end="")
            return DONE
        return _command(options, began)
    except (ParamsError, FolderError) as error:
        return _fail(REFUSED, str(error))
    except KeyboardInterrupt:
        return _fail(FAILED, "interrupted; nothing was saved")


def _command(options: argparse.Namespace, began: float) -> int:
    from ppo import games
    from ppo.startup import default_threads, start_tensorflow

    logdir = options.logdir
    if options.pfile:
        params = settings.load(options.pfile, options.set, [games.check])
        check_new(logdir)
    else:
        check_run(logdir)
        overrides = options.set if options.resume else ()
        params = settings.load(RunFolder(logdir).params, overrides, [games.check])
    if options.watch is not None and not games.Rules.of(params).is_atari:
        raise FolderError(f"{params.env_id} has no picture to make a video of; use --evaluate")
    start_tensorflow(params.threads or default_threads())

    from ppo import train
    from ppo.checkpoint import CheckpointError, MisfitError
    from ppo.replay import ReplayError
    from ppo.video import VideoError

    try:
        if options.pfile:
            train.run(params, logdir, began)
        elif options.resume:
            train.resume(logdir, options.set, began)
        else:
            _play(options, logdir)
        return DONE
    except MisfitError as error:
        return _fail(REFUSED, str(error))
    except train.Stopped as error:
        return _fail(STOPPED, str(error))
    except train.Diverged as error:
        return _fail(DIVERGED, str(error))
    except (CheckpointError, ReplayError, VideoError, OSError) as error:
        return _fail(FAILED, str(error))


def _play(options: argparse.Namespace, logdir: Path) -> None:
    from ppo import show

    if options.evaluate is not None:
        show.evaluate_run(logdir, options.evaluate)
    else:
        show.watch_run(logdir, options.watch)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run_atari.py",
        description=__doc__,
        allow_abbrev=False,
        epilog="Exit codes: 0 done, 1 failed, 2 refused and nothing started, 3 stopped by a signal "
        "with everything saved, 4 diverged.",
    )
    parser.add_argument("--logdir", type=Path, help="the run's folder; new or empty for training")
    does = parser.add_mutually_exclusive_group(required=True)
    does.add_argument("--pfile", type=Path, metavar="FILE", help="train with a JSON params file")
    does.add_argument(
        "--resume", action="store_true", help="go on from the newest sound checkpoint"
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
        help="every scalar: unit, meaning, healthy range, what to do outside it",
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
        raise argparse.ArgumentTypeError(f"{text} is no number of games from 1 to 10000")
    return int(text)


def _fail(code: int, message: str) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
