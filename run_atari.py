#!/usr/bin/env python3
"""Train a PPO agent on an Atari game, resume its training, evaluate it, or watch it play."""

import argparse
import sys
import time

from ppo import described, params, presets, schema
from ppo.files import scalars
from ppo.files.folder import check_run, check_unmoved, visited
from ppo.options import parse
from ppo.process import tables
from ppo.process.command import run_command
from ppo.process.signals import stop_interrupts
from ppo.settings import Params


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code. Settings are read before TensorFlow is."""
    began = time.monotonic()
    return run_command(lambda: _answer(parse(arguments, __doc__), began))


def _answer(options: argparse.Namespace, began: float) -> int | None:
    if options.check:
        from ppo.study.preflight import check

        check(_settings(options), options.check)
    elif options.explain or options.report is not None:
        print(_told(options), end="")
    elif options.board:
        from ppo.study import board

        board.show(options.logdir)
    elif options.describe_params == "schema":
        print(schema.describe(), end="")
    elif options.describe_params:
        tables.show_list(described.text(), described.entries())
    elif options.describe_presets:
        tables.show_list(presets.describe(), presets.entries())
    elif options.describe_metrics:
        tables.show_list(scalars.describe(), scalars.entries())
    else:
        return _command(options, began)
    return None


def _told(options: argparse.Namespace) -> str:
    """What the files of a run tell: its explanation, or where its report is."""
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


def _command(options: argparse.Namespace, began: float) -> int | None:
    from ppo import train

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
    return None


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
