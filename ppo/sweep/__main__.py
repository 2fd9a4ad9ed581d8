r"""Many runs side by side, and their results: one table and one figure.

    python -m ppo.sweep --env=CartPole-v1 --vary gamma=0.98,0.99 --seeds=0,1,2 --logdir=runs/gamma
    python -m ppo.sweep --pfile=pong --set total_steps=500000 --variant plain \
        --variant logit:delta_target_policy=logit --logdir=runs/logit --workers=2

    python -m ppo.sweep --env=CartPole-v1 --logdir=runs/search \
        --sample 20 'learning_rate=loguniform(1e-4,1e-2)' 'num_epochs=int(2,12)'

    python -m ppo.sweep --draw old=runs/a,runs/b --draw new=runs/c --logdir=runs/compared
    python -m ppo.sweep --pfile=pong --seeds=0,1,2 --logdir=/shared/DIR --cluster=HOST:6379

Every combination of the values, the variants, the samples and the seeds is a run in its own
process and folder. Called again, a sweep resumes where it was interrupted. With ``--cluster`` the
runs go to the machines of a Ray cluster, which all see the folder under the same path.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ppo import presets
from ppo.envs import registry
from ppo.errors import ExitCode, Refused, Stopped, exit_codes
from ppo.files.folder import check_unmoved
from ppo.files.lock import owned
from ppo.params import ParamsError, Source, game_of, load
from ppo.settings import Params
from ppo.sweep import grid, machines, results, sample
from ppo.sweep.grid import Run
from ppo.sweep.one_precision import unify_precision
from ppo.sweep.parallel import STOPPED, train_all
from ppo.system.arguments import ENV_AND_PFILE, argument_parser, expanded
from ppo.system.children import Children
from ppo.system.command import run_command
from ppo.system.device import default_threads
from ppo.system.streams import say

WITHOUT_GRID = {"logdir", "pfile", "env", "draw"}  # arguments that need no grid
SEVERAL: dict[str, Any] = {"action": "append", "default": []}


class Plan(NamedTuple):
    """The parsed arguments."""

    options: argparse.Namespace
    source: Source | None
    runs: list[Run]
    workers: int
    shown: dict[str, list[Path]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return its exit code."""
    return run_command(lambda: _go(_plan(_parse(arguments))), stopped=STOPPED)


def _go(plan: Plan) -> ExitCode:
    """Make the runs and their results, unless the folder is moved meanwhile."""
    options, logdir, failed, drawn = plan.options, plan.options.logdir, [], True
    with owned(logdir) as folder:
        check, on_cluster = partial(check_unmoved, folder, logdir), options.cluster is not None
        reserved = options.cluster, int(options.cores or 1), options.gpu, logdir
        with closing(machines.Cluster(*reserved) if on_cluster else Children()) as children:
            if plan.source:
                pfile = grid.settings_in(logdir, plan.source)

                def settings(run: Run) -> Params:
                    return load(pfile, run.overrides)

                begin = f"--pfile={pfile}"
                failed = train_all(plan.runs, plan.workers, children, begin, settings, check)
        if not children.stopped:
            check()
        for line in failed:
            say(line, sys.stderr)
        if not children.stopped:
            try:
                results.write(plan.shown, logdir)
            except Refused as error:
                say(str(error), sys.stderr)
                drawn = False
    if children.stopped:
        raise Stopped(STOPPED)
    return ExitCode.FAILED if failed or not (plan.runs or drawn) else ExitCode.DONE


def _plan(options: argparse.Namespace) -> Plan:
    """Return the plan. Raises ParamsError with all faults, and ClusterError."""
    logdir = options.logdir
    source = registry.settings_for(options.env) if options.env else options.pfile
    faults = grid.logdir_faults(logdir)
    drawn = grid.parse_draws(options.draw, faults)
    runs = _runs(options, source, faults) if source else []
    if not source:
        unfit = [key for key, given in vars(options).items() if given and key not in WITHOUT_GRID]
        faults += [f"--{key.replace('_', '-')} goes with --pfile or --env" for key in unfit]
    settings: Callable[[Run], Params] = cache(lambda run: load(source, run.overrides))
    if not faults:
        begun = (grid.begun_faults(run, settings(run)) for run in runs)
        faults += dict.fromkeys(itertools.chain(*begun))
        runs = unify_precision(runs, settings, faults, options.gpu)
        faults += grid.drawn_faults(drawn, runs)
    if faults:
        raise ParamsError(faults)
    workers = int(options.workers or (len(runs) if options.cluster else 1))
    for run in runs:
        drawn.setdefault(run.variant, []).append(run.folder)
    return Plan(options, source, runs, workers, drawn)


def _runs(options: argparse.Namespace, source: Source, faults: list[str]) -> list[Run]:
    """Return the runs of the well-formed part of the grid. Add its faults to ``faults``."""
    sample_seed = "0" if options.sample_seed is None else options.sample_seed
    if (seed := grid.count(sample_seed)) is None:
        faults.append(f"--sample-seed={sample_seed!r}: write a number, such as 1")
    samples = sample.parse(options.sample, seed or 0, faults)
    if options.sample_seed is not None and not options.sample:
        faults.append("--sample-seed goes with --sample")
    parsed = grid.parse(options.variant, options.vary, samples=samples, shared=options.set)
    faults += parsed.faults
    seeds = grid.parse_seeds("0" if options.seeds is None else options.seeds, faults)
    workers = grid.parse_count("--workers", options.workers, "runs at a time", faults)
    cores = grid.parse_count("--cores", options.cores, "cores of a run", faults)
    if options.cluster is None:
        unfit = [key for key in ("cores", "gpu") if vars(options)[key]]
        faults += [f"--{key} goes with --cluster" for key in unfit]
    elif not options.cluster:
        faults.append("--cluster is empty; is the shell variable set?")
    elif not find_spec("ray"):
        where = f"--cluster={options.cluster}"
        faults.append(f"{where}: Ray is not installed; install it with: pip install '.[cluster]'")
    threads = cores if options.cluster else max(1, default_threads() // workers)
    runs = parsed.runs(options.logdir, seeds or [0], threads)
    games = [game_of({"env_id": options.env}, run.overrides) for run in runs]
    if options.env and any(game != options.env for game in games):
        faults.append("--env and env_id both name the game; leave env_id out, or use --pfile")
    faults += grid.setting_faults(source, runs, on_this_machine=options.cluster is None)
    return runs


def command_line() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argument_parser("ppo.sweep", __doc__, exit_codes(ExitCode.STOPPED))
    add = parser.add_argument
    add("--logdir", type=expanded, required=True, help="folder of the sweep")
    share = "params file, or preset, that all runs share"
    add("--pfile", type=presets.find, metavar="FILE", help=share)
    add("--env", metavar="ID", help="game, with its default settings")
    add("--set", **SEVERAL, metavar="KEY=VALUE", help="a setting of all runs")
    add("--vary", **SEVERAL, metavar="KEY=V1,V2", help="a setting to vary")
    search = f"random search: N combinations, sampled from {sample.FORM}"
    add("--sample", nargs="+", default=[], metavar=("N", "KEY=RANGE"), help=search)
    add("--sample-seed", metavar="N", help="seed of the samples, default 0")
    add("--variant", **SEVERAL, metavar="NAME[:KEY=VALUE,...]", help="a named set of settings")
    add("--seeds", metavar="0,1,2", help="seeds of each combination; default 0")
    add("--workers", metavar="N", help="runs at a time, default 1; they share the cores")
    where = "run on a Ray cluster: HOST:PORT, auto, or local; by default all runs at a time"
    add("--cluster", metavar="ADDRESS", help=where)
    add("--cores", metavar="N", help="with --cluster: cores of each run, default 1")
    add("--gpu", action="store_true", help="with --cluster: give each run a GPU")
    add("--draw", **SEVERAL, metavar="NAME=RUN[,RUN]", help="also show existing runs")
    return parser


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line()
    options = parser.parse_args(arguments)
    if options.cluster:
        options.logdir = options.logdir.absolute()
    if None not in (options.pfile, options.env):
        parser.error(ENV_AND_PFILE)
    if not (options.pfile or options.env or options.draw):
        parser.error("--pfile=FILE, --env=ID or --draw NAME=RUN is needed")
    return options


if __name__ == "__main__":
    sys.exit(main())
