"""Why a run's policy collapsed: forks from just before it, one change each.

    python -m ppo.autopsy RUN
    python -m ppo.autopsy RUN --at=STEP --seeds=1,2,3,4,5,6,7,8 --updates=60
    python -m ppo.autopsy RUN --change "slow:learning_rate=1e-5" --only "no early stop"

Every fork begins with the same weights, optimiser and games, and makes a fixed number of updates
with one setting changed. Each seed gives a fork other random numbers. The unchanged run and smaller
learning rates are the controls. A change explains the collapse only if more of its forks survive
than forks of the control whose KL per update is nearest. Called again, an autopsy resumes
where it was interrupted.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from ppo.autopsy import figure, verdict
from ppo.autopsy.case import Case, case_of
from ppo.autopsy.changes import UNCHANGED, Change, changes_for, own_change, smaller_rates
from ppo.autopsy.forks import Plan, outcomes_of
from ppo.checkpoint import CheckpointError
from ppo.errors import ExitCode, PPOError, Refused, Stopped, exit_codes
from ppo.files.atomic import write_whole
from ppo.files.folder import RunFolder, check_unmoved, named
from ppo.files.lock import owned
from ppo.params import ParamsError
from ppo.sweep import grid
from ppo.sweep.parallel import STOPPED, diverged, train_all
from ppo.system import reading, tables
from ppo.system.arguments import argument_parser, expanded
from ppo.system.children import Children
from ppo.system.command import run_command
from ppo.system.device import default_threads
from ppo.system.streams import say
from ppo.telemetry.collapse import BOTTOM_OVER

VERDICT, FIGURE = "verdict.md", "figure.png"


def report(plan: Plan, outcomes: Sequence[verdict.Outcome]) -> str:
    """Return the verdict's page."""
    case = plan.case
    command = shlex.join(["python", "-m", "ppo.autopsy", *(sys.argv[1:] if sys.argv[0] else [])])
    lost = ", ".join(f"`{run.name}`" for run in plan.runs() if diverged(run))
    return (
        f"# Autopsy\n\n`{command}`\n\n"
        f"{case.description[0].upper()}{case.description[1:]}; forked from `{case.source}` at step "
        f"{case.step:,}, {plan.updates} updates each, seeds {', '.join(map(str, plan.seeds))}.\n\n"
        f"{verdict.verdict(outcomes)}\n\n{verdict.table(outcomes)}\n"
        f"{f'Diverged, so nothing is kept from then on: {lost}. ' if lost else ''}"
        f"Levels are shares: 1 is {case.peak:.4g} points a step, 0 is {case.bottom:.4g}. End: mean "
        f"of the last third of the updates; a fork survives if it is {verdict.SURVIVES:g} or more. "
        f"Lowest: lowest median of {BOTTOM_OVER} rollouts. KL and gain cover the updates until the "
        "unchanged forks have collapsed. KL: mean approximate KL over all minibatches. Gain: how "
        "much an update improves the surrogate by its last epoch. Verdicts use Fisher's exact test "
        "at 5 percent, against the unchanged run and against the control with the nearest "
        "KL. The controls are the unchanged run and the smaller rates.\n\n"
        f"![the course of the forks, and what each change keeps at which KL]({FIGURE})\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return its exit code."""
    return run_command(lambda: _go(_plan(command_line().parse_args(arguments))), stopped=STOPPED)


def _go(plan: Plan) -> None:
    """Make the forks and the report, unless the folder is moved meanwhile."""
    children, case, runs = Children(), plan.case, plan.runs()
    with owned(plan.logdir) as folder:
        say(
            f"{case.description}; {len(runs)} forks of {case.source} at step {case.step:,}, "
            f"{plan.workers} at a time"
        )
        fork = f"--fork={case.source}@{case.step}"
        check = partial(check_unmoved, folder, plan.logdir)
        common = plan.workers, children, fork, plan.settings, check
        failed = train_all(runs, *common, may_diverge=True)
        if children.stopped:
            raise Stopped(STOPPED)
        if failed:
            raise PPOError("\n".join(failed))
        outcomes = outcomes_of(plan)
        text = report(plan, outcomes)
        check()
        tables.show_page(text.partition("\n![")[0])
        write_whole(plan.logdir / VERDICT, text.encode())
        figure.draw(outcomes, plan.logdir / FIGURE, case.description)
        say(f"verdict: {plan.logdir / VERDICT}\nfigure: {plan.logdir / FIGURE}")


def _plan(options: argparse.Namespace) -> Plan:
    """Return the plan. Raises ParamsError with all faults, and ClusterError."""
    run = named(options.run)
    logdir = options.logdir or run.with_name(f"{run.name}-autopsy")
    faults = grid.logdir_faults(logdir)
    seeds = grid.parse_seeds(options.seeds, faults)
    parsed = grid.parse(options.change, option="--change")
    faults += parsed.faults
    faults += [
        f"--change {text!r}: it changes nothing; write NAME:KEY=VALUE"
        for text in options.change
        if ":" not in text
    ]
    updates = grid.parse_count("--updates", options.updates, "updates of a fork", faults)
    workers = grid.parse_count("--workers", options.workers, "forks at a time", faults)
    if options.at is not None and grid.count(options.at) is None:
        faults.append(f"--at={options.at!r}: write the number of a step")
    if faults:
        raise ParamsError(faults)
    try:
        case = case_of(options.run, None if options.at is None else int(options.at))
    except CheckpointError as error:  # also a damaged checkpoint: nothing has started
        raise Refused(error.in_full()) from error
    changes = _changes(case, parsed.variants, options.only)
    plan = Plan(case, logdir, changes, seeds, updates, workers)
    _check(plan)
    return plan


def _changes(case: Case, variants: Sequence[grid.Variant], only: Sequence[str]) -> list[Change]:
    """Return the controls and the requested changes: all or those in ``only``, and variants."""
    known = changes_for(case.settings, case.advantage_std)
    names = [change.name for change in known]
    if unknown := [name for name in only if name not in names]:
        there = f"no such change; there are: {', '.join(names)}"
        raise ParamsError([f"--only={name!r}: {there}" for name in unknown])
    requested = []
    for name, given in variants:
        pairs = (setting.partition("=") for setting in given)
        settings = {key: reading.parse_or_text(value) for key, _, value in pairs}
        requested.append(own_change(name, settings, case.settings.learning_rate))
    chosen = [change for change in known if not (only or requested) or change.name in only]
    unchanged = Change(UNCHANGED, {}, "")
    controls = [unchanged, *smaller_rates(case.settings.learning_rate)]
    taken = {change.name for change in [*controls, *chosen]}
    if twice := [change.name for change in requested if change.name in taken]:
        raise ParamsError([f"--change: there is a {name!r} already; rename it" for name in twice])
    return [*controls, *chosen, *requested]


def _check(plan: Plan) -> None:
    """Raise ParamsError if a fork cannot begin, or if its folder holds a different fork."""
    case, faults = plan.case, dict[str, None]()
    if (workers := case.settings.workers) > 1:
        fault = f"the run has {workers} workers, and a fork has one, whose updates are smaller"
        raise ParamsError(f"{fault}: an autopsy of it would not repeat the collapse")
    for run in plan.runs():
        try:
            source = case.source, case.step
            faults |= dict.fromkeys(grid.begun_faults(run, plan.settings(run), source))
            if not RunFolder(run.folder).params.exists():
                grid.check_start(plan.settings(run), on_this_machine=True)
        except ParamsError as error:
            faults |= dict.fromkeys(f"{run.variant}: {fault}" for fault in error.faults)
    if faults:
        raise ParamsError(list(faults))


def command_line() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argument_parser("ppo.autopsy", __doc__, exit_codes(ExitCode.STOPPED))
    add = parser.add_argument
    add("run", type=expanded, metavar="RUN", help="folder of the run that collapsed")
    add("--at", metavar="STEP", help="examine what follows this step, not the deepest collapse")
    add("--logdir", type=expanded, help="folder of the autopsy; default RUN-autopsy")
    add("--updates", default="40", metavar="N", help="updates of each fork, default 40")
    add("--seeds", default="1,2,3,4,5", metavar="1,2,3", help="seeds of a change, default 1 to 5")
    workers = "forks at a time; default: one a core, at most 8"
    add("--workers", default=str(default_threads()), metavar="N", help=workers)
    own = "a change of your own; it replaces the usual ones, except those that --only names"
    several: Any = {"action": "append", "default": []}
    add("--change", **several, metavar="NAME:KEY=VALUE,...", help=own)
    add("--only", **several, metavar="NAME", help="make only this usual change; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main())
