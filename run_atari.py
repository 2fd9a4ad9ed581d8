#!/usr/bin/env python3
"""Train a PPO agent on an Atari game, resume its training, evaluate it, or watch it play."""

import argparse
import sys
import time

from ppo import described, listing, params, presets, schema
from ppo.files import scalars
from ppo.files.folder import (
    FolderError,
    HoldsNoRun,
    HoldsRun,
    check_run,
    check_unmoved,
    visited,
)
from ppo.options import parse
from ppo.outcomes import EnvironmentFailed
from ppo.params import ParamsError
from ppo.process.exit_codes import ExitCode, fail
from ppo.process.signals import ctrl_c_raises, stop_interrupts
from ppo.process.streams import discard, make_safe
from ppo.settings import Params


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code. Settings are read before TensorFlow is."""
    began = time.monotonic()
    make_safe()
    options = parse(arguments, __doc__)
    code: int = ExitCode.DONE
    try:
        with ctrl_c_raises():
            code = _answer(options, began)
        sys.stdout.flush()
    except OSError as error:  # what was printed did not arrive
        discard(sys.stdout)
        if code == ExitCode.DONE and not isinstance(error, BrokenPipeError):
            return fail(ExitCode.FAILED, _reason(error))
    return code  # of a broken pipe, whoever read it has enough


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
        return fail(ExitCode.REFUSED, f"{error.logdir} holds a run; {remedy}")
    except HoldsNoRun as error:
        return fail(ExitCode.REFUSED, f"{error}; start one with --pfile=FILE or --env=ID")
    except (ParamsError, FolderError) as error:
        return fail(ExitCode.REFUSED, str(error))
    except EnvironmentFailed as error:
        return fail(ExitCode.FAILED, error.in_full())
    except MemoryError as error:
        return fail(ExitCode.FAILED, f"out of memory: {error}" if str(error) else "out of memory")
    except KeyboardInterrupt:
        return fail(ExitCode.FAILED, "interrupted; whole files are kept")


def _told(options: argparse.Namespace) -> str:
    """What the files of a run tell: its explanation, or where its report is."""
    from ppo.study.history import HistoryError

    try:
        if options.explain:
            from ppo.study.explain import explain

            return explain(options.logdir)
        from ppo.study import card, report

        check_run(options.logdir)
        with visited(options.logdir) as run:
            report.write([options.logdir, *options.report], run.path / report.REPORT)
            card.write(options.logdir, run.path / "card")
            check_unmoved(run, options.logdir)  # what was read may be another run's
        page, folder = options.logdir / report.REPORT, options.logdir / "card"
        return f"the report is {page}, the model card in {folder}\n"
    except HistoryError as error:
        raise FolderError(str(error)) from error


def _checked(options: argparse.Namespace) -> int:
    from ppo.study.preflight import check
    from ppo.study.probe import ProbeError

    try:
        check(_settings(options), options.check)
    except ProbeError as error:
        return fail(error.code, str(error))
    return ExitCode.DONE


def _launch(options: argparse.Namespace) -> int:
    """Train in several processes, each of which gets what was given here."""
    from ppo.runs.launch import Launch

    if options.resume:
        begin = ["--resume"]
    elif options.fork:
        run, step = options.fork
        # The slash: "x@1" would be step 1 of x.
        begin = [f"--fork={run}/" if step is None else f"--fork={run}@{step}"]
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
        else:
            with stop_interrupts():
                _play(options)
        return ExitCode.DONE
    except (DeviceError, MisfitError, NewerVersionError, NoCheckpoint) as error:
        return fail(ExitCode.REFUSED, str(error))
    except (ClusterError, WorkersDiffer) as error:
        return fail(ExitCode.REFUSED, str(error))
    except WorkerLost as error:
        saved = "what was reached is saved, --resume goes on"
        remedy = saved if error.begun else "nothing had begun; start all workers again"
        return fail(ExitCode.LOST, f"{error}; {remedy}")
    except EpisodeMismatch as error:
        remedy = "--resume --new-games begins new ones in their place, no longer bit for bit"
        return fail(ExitCode.REFUSED, f"{error}; what was saved is as it was. {remedy}")
    except NotFinite as error:
        return fail(ExitCode.DIVERGED, str(error))
    except train.Stopped as error:
        return fail(ExitCode.STOPPED, str(error))
    except train.Diverged as error:
        return fail(ExitCode.DIVERGED, str(error))
    except train.Collapsed as error:
        return fail(ExitCode.COLLAPSED, str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        return fail(ExitCode.FAILED, _reason(error))
    except (CheckpointError, ExportError, ReplayError, VideoError) as error:
        return fail(ExitCode.FAILED, str(error))


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
        return params.load(catalog.settings_for(options.env), options.set, [catalog.check_new])
    return params.load(presets.find(options.pfile), options.set, [catalog.check_new])


def _play(options: argparse.Namespace) -> None:
    from ppo.play.export import export_run
    from ppo.play.games import POLICIES
    from ppo.play.show import evaluate_run
    from ppo.play.watch import watch_run

    which = {"which": options.checkpoint} if options.checkpoint is not None else {}
    if options.evaluate is not None:
        policies = POLICIES[options.policy or "both"]
        evaluate_run(options.logdir, options.evaluate, policies, seed=options.seed, **which)
    elif options.film:
        from ppo.study.film import film

        film(options.logdir)
    elif options.export is not None:
        export_run(options.logdir, options.export)
    else:
        policies = POLICIES[options.policy or "sampled"]
        look = {"plain": options.plain, "gif_seconds": float(options.gif or 0)}
        watch_run(options.logdir, options.watch, policies, seed=options.seed, **which, **look)


if __name__ == "__main__":
    sys.exit(main())
