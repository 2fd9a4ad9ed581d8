"""Why a run's policy fell: forks from just before it, one change each.

    python -m ppo.autopsy RUN
    python -m ppo.autopsy RUN --at=STEP --seeds=1,2,3 --updates=60
    python -m ppo.autopsy RUN --change "slow:learning_rate=1e-5" --only "no early stop"

Every fork begins with the same weights, optimiser and games, and goes a fixed number of updates
with one setting changed; with each seed it draws other numbers. Smaller learning rates are the
control: a change explains the fall only if it prevents it at equal KL an update. Called again, an
autopsy resumes where it was interrupted.
"""

import argparse
import itertools
import json
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppo import checkpoint, falls, params
from ppo.checkpoint import CheckpointError
from ppo.envs import catalog
from ppo.files.folder import FolderError, RunFolder, write_whole
from ppo.params import Params, ParamsError, ResolvedParams
from ppo.process.device import default_threads
from ppo.process.exit_codes import ExitCode
from ppo.schedules import scheduled
from ppo.study import history, verdict
from ppo.study.changes import UNCHANGED, Change, of_cause, smaller_rates
from ppo.study.command import Children, on_stop
from ppo.study.grid import (
    Run,
    count,
    create,
    folder_name,
    form_faults,
    logdir_faults,
    seed_faults,
    well_formed,
)
from ppo.study.history import HistoryError
from ppo.study.parallel import Call, call_with_log, fail, finished, run_all
from ppo.study.verdict import Outcome

VERDICT, FIGURE = "verdict.md", "figure.png"
STOPPED = "stopped; call the same command again to resume"
LAST = 3  # the end of a fork is its last third
MEDIAN_OVER = 5  # rollouts, for the lowest level

# A fork logs every update, and does nothing that takes time from it.
QUIET: dict[str, object] = {
    "log_interval": 1,
    "video_interval": 0,
    "evaluation_interval": 0,
    "replay_check_interval": 0,
    "diagnostics_interval": 0,
    "checkpoints_kept": 1,
    "keep_checkpoints_from": None,
    "keep_checkpoints_to": None,
    "stop_at_score": None,
    "collapse_guard": "off",
    "learning_rate_schedule": "constant",
    "clip_range_schedule": "constant",
}
# What a fork need not have in common with the run.
INCIDENTAL = frozenset(["seed", "threads", "total_steps", "checkpoint_interval", *QUIET])


@dataclass(frozen=True)
class Case:
    """A fall: the settings that the run had just before it, with the rates of that step; the
    checkpoint before it, by its folder and step; the settings that differ from that one's run; the
    points per step that the policy fell from and to; and in words what fell.
    """

    settings: ResolvedParams
    source: Path
    step: int
    differing: Mapping[str, object]
    peak: float
    bottom: float
    advantage_std: float | None
    told: str

    def kept(self, points: np.ndarray) -> np.ndarray:
        """The share of the height that is left at each level."""
        return (points - self.bottom) / (self.peak - self.bottom)


@dataclass(frozen=True)
class Plan:
    """What the arguments ask for."""

    case: Case
    logdir: Path
    changes: list[Change]
    seeds: list[int]
    updates: int
    workers: int

    def runs(self) -> list[Run]:
        """The forks, seed by seed, so that an interrupted autopsy has some of each change."""
        return [self.run(change, seed) for seed in self.seeds for change in self.changes]

    def run(self, change: Change, seed: int) -> Run:
        """The fork with a change and a seed."""
        steps = self.updates * self.case.settings.batch_size
        own = {
            "total_steps": self.case.step + steps,
            "checkpoint_interval": steps,
            "seed": seed,
            "threads": max(1, default_threads() // self.workers),
        }
        settings = {**self.case.differing, **QUIET, **own, **change.settings}
        overrides = tuple(f"{key}={json.dumps(value)}" for key, value in settings.items())
        folder = self.logdir / folder_name(change.name) / f"seed-{seed}"
        return Run(change.name, seed, overrides, folder)


def case_of(run: Path, at: int | None = None) -> Case:
    """The fall of a run, the deepest one or what follows a step. Raises FolderError, HistoryError,
    ParamsError and CheckpointError.
    """
    told = history.rows(run)
    rows = [row for row in told if np.isfinite(history.points(row))]
    points = [history.points(row) for row in rows]
    settings = params.load(RunFolder(run).params, checks=[catalog.check])
    fall = falls.find(points)
    if at is not None:
        before = [level for row, level in zip(rows, points, strict=True) if row["step"] <= at]
        onset, words = at, f"what follows step {at:,}"
        peak, bottom = float(np.median(before[-falls.MEDIAN_OVER :] or [0.0])), min(points)
    elif fall:
        onset = int(rows[fall.onset]["step"]) - settings.batch_size
        peak, bottom = fall.peak, min(fall.bottom_level, fall.low)
        words = (
            f"a fall from {fall.peak:.4g} to {fall.bottom_level:.4g} points a step, after the "
            f"rollout that ended at step {rows[fall.onset]['step']:,.0f}"
        )
    else:
        raise HistoryError(f"{run} has not fallen; give a step with --at=STEP")
    if peak <= bottom:
        raise HistoryError(f"{run} has no height to fall from at step {onset:,}")
    source, step = _checkpoint_before(run, onset)
    of_source = params.load(RunFolder(source).params, checks=[catalog.check])
    settings = _as_of(ResolvedParams.model_validate(settings.model_dump()), step)
    stds = [
        row["train/advantage_std"]
        for row in told
        if row["step"] <= onset + settings.batch_size and "train/advantage_std" in row
    ]
    return Case(
        settings=settings,
        source=source,
        step=step,
        differing={
            key: value
            for key, value in settings
            if value != getattr(of_source, key) and key not in INCIDENTAL
        },
        peak=peak,
        bottom=bottom,
        advantage_std=stds[-1] if stds else None,
        told=words,
    )


def _as_of(settings: ResolvedParams, step: int) -> ResolvedParams:
    """The settings with the learning rate and the clip range of a step, constant."""
    total = settings.whole_steps
    rate = scheduled(settings.learning_rate_schedule, settings.learning_rate, step, total)
    clip = scheduled(settings.clip_range_schedule, settings.clip_range, step, total)
    return settings.model_copy(update={"learning_rate": rate, "clip_range": clip})


def _checkpoint_before(run: Path, step: int) -> tuple[Path, int]:
    """The newest checkpoint up to a step, of the run or of what it was forked from: its folder and
    its step.
    """
    own = [found for found in checkpoint.steps(RunFolder(run)) if found <= step]
    if own:
        return run, own[0]
    origin = history.fork_of(run)
    if origin is None:
        raise CheckpointError(
            f"{run} has no checkpoint up to step {step:,}: run it again with its seed and with "
            f"keep_checkpoints_from=0, or fork it before that step, and call this again"
        )
    source, forked_at = origin
    return _checkpoint_before(source, min(step, forked_at))


def outcomes_of(plan: Plan) -> list[Outcome]:
    """What the forks with each change came to. Raises HistoryError."""
    forks = {
        change.name: [_fork(plan, change, seed) for seed in plan.seeds] for change in plan.changes
    }
    falling = _falling(forks[UNCHANGED])
    return [
        Outcome(
            change,
            end=np.array(
                [fork.kept[-max(1, len(fork.kept) // LAST) :].mean() for fork in of_change]
            ),
            lowest=np.array([fork.lowest() for fork in of_change]),
            kl=np.array([fork.kl[:falling].mean() for fork in of_change]),
            gain=np.array([fork.gain[:falling].mean() for fork in of_change]),
        )
        for change, of_change in zip(plan.changes, forks.values(), strict=True)
    ]


@dataclass(frozen=True)
class _Fork:
    """One number for each update: the share of the height that its rollout kept, its KL, and its
    surrogate's gain.
    """

    kept: np.ndarray
    kl: np.ndarray
    gain: np.ndarray

    def lowest(self) -> float:
        """The lowest median of successive rollouts."""
        last = range(MEDIAN_OVER, len(self.kept) + 1) or [len(self.kept)]
        return float(min(np.median(self.kept[max(0, n - MEDIAN_OVER) : n]) for n in last))


def _fork(plan: Plan, change: Change, seed: int) -> _Fork:
    rows = history.own_rows(plan.run(change, seed).folder)[: plan.updates]
    if not rows:
        raise HistoryError(f"{change.name}, seed {seed}, has no log")
    tags = history.POINTS, "train/approx_kl", "train/surrogate_gain_last"
    points, kl, gain = np.array([[row[tag] for tag in tags] for row in rows]).T
    return _Fork(plan.case.kept(points), kl, gain)


def _falling(unchanged: Sequence[_Fork]) -> int:
    """The number of updates after which the forks that are unchanged have fallen, on the mean; all
    if they have not.
    """
    kept = np.mean([fork.kept for fork in unchanged], axis=0)
    fallen = np.flatnonzero(kept < verdict.HELD)
    return max(1, int(fallen[0])) if len(fallen) else len(kept)


def report(plan: Plan, outcomes: Sequence[Outcome]) -> str:
    """The verdict's page."""
    case = plan.case
    command = shlex.join(
        ["python", "-m", "ppo.autopsy", *map(str, sys.argv[1:] if sys.argv[0] else [])]
    )
    return (
        f"# Autopsy\n\n`{command}`\n\n"
        f"{case.told[0].upper()}{case.told[1:]}; forked from `{case.source}` at step "
        f"{case.step:,}, {plan.updates} updates each, seeds {', '.join(map(str, plan.seeds))}.\n\n"
        f"{verdict.verdict(outcomes)}\n\n{verdict.table(outcomes)}\n"
        f"Heights are in points a step, 1 at {case.peak:.4g}, 0 at {case.bottom:.4g}. End: mean of "
        f"the last third of the updates; a fork holds if it is {verdict.HELD:g} or more. Lowest: "
        f"lowest median of {MEDIAN_OVER} rollouts. KL and gain are those of the updates until the "
        "forks that are unchanged have fallen: mean approximate KL over all minibatches; how much "
        "better the surrogate is in an update's last epoch than that of the policy before it. "
        "Verdicts are by Fisher's exact test at 5 percent, against the run unchanged and against "
        "the smaller rate of the nearest KL.\n\n"
        f"![what each change keeps, over its KL]({FIGURE})\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parse(arguments)
    try:
        with on_stop(signal.default_int_handler):
            return _go(_plan(options))
    except (ParamsError, FolderError) as error:
        return fail(ExitCode.REFUSED, str(error))
    except (CheckpointError, HistoryError) as error:
        return fail(ExitCode.REFUSED, str(error))
    except OSError as error:
        return fail(ExitCode.FAILED, str(error))
    except KeyboardInterrupt:
        return fail(ExitCode.STOPPED, STOPPED)


def _go(plan: Plan) -> ExitCode:
    children, case = Children(), plan.case
    runs = plan.runs()
    print(
        f"{case.told}; {len(runs)} forks of {case.source} at step {case.step:,}, {plan.workers} at "
        "a time",
        flush=True,
    )

    def settings(run: Run) -> Params:
        return params.load(RunFolder(case.source).params, run.overrides)

    def go(run: Run, call: Call) -> int:
        fork = [f"--fork={case.source}@{case.step}"]
        fork += itertools.chain(*(("--set", text) for text in run.overrides))
        begun = RunFolder(run.folder).params.exists()
        return call_with_log(run, ["--resume"] if begun else fork, call)

    failed = run_all(runs, plan.workers, children, lambda run: finished(run, settings(run)), go)
    if children.stopped:
        return fail(ExitCode.STOPPED, STOPPED)
    if failed:
        return fail(ExitCode.FAILED, "\n".join(failed))
    outcomes = outcomes_of(plan)
    text = report(plan, outcomes)
    print(text, end="", flush=True)
    write_whole(plan.logdir / VERDICT, text.encode())
    verdict.draw(outcomes, plan.logdir / FIGURE, case.told)
    return ExitCode.DONE


def _plan(options: argparse.Namespace) -> Plan:
    """What to do, in a folder that is there now. Raises ParamsError with all faults."""
    logdir = options.logdir or options.run.with_name(f"{options.run.name}-autopsy")
    faults = logdir_faults(logdir) + form_faults(options.change, []) + seed_faults(options.seeds)
    faults += [
        f"--{key}={vars(options)[key]!r}: write a whole number, at least 1"
        for key in ("updates", "workers")
        if not count(vars(options)[key])
    ]
    if options.at is not None and count(options.at) is None:
        faults.append(f"--at={options.at!r}: write the number of a step")
    if faults:
        raise ParamsError(faults)
    case = case_of(options.run, None if options.at is None else int(options.at))
    changes = _changes(case, options.change, options.only)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    plan = Plan(case, logdir, changes, seeds, int(options.updates), int(options.workers))
    _check(plan)
    create(logdir)
    return plan


def _changes(case: Case, given: Sequence[str], only: Sequence[str]) -> list[Change]:
    """The controls, and the changes that are asked for: all, or those named, and the given ones."""
    known = of_cause(case.settings, case.advantage_std)
    if unknown := [name for name in only if name not in {change.name for change in known}]:
        names = ", ".join(change.name for change in known)
        raise ParamsError(
            [f"--only={name!r}: no such change; there are: {names}" for name in unknown]
        )
    variants, _ = well_formed(given, [])
    own = [_given(text) for text in variants]
    chosen = [change for change in known if not (only or own) or change.name in only]
    unchanged = Change(UNCHANGED, {}, "")
    return [unchanged, *smaller_rates(case.settings.learning_rate), *chosen, *own]


def _given(text: str) -> Change:
    name, _, settings = text.partition(":")
    pairs = (part.partition("=") for part in settings.split(","))
    values = {key: _value(value) for key, _, value in pairs}
    return Change(name, values, f"what {settings} changes")


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check(plan: Plan) -> None:
    """Raise ParamsError if the settings of a fork are not valid."""
    faults: dict[str, None] = {}
    for change in plan.changes:
        run = plan.run(change, plan.seeds[0])
        try:
            params.load(RunFolder(plan.case.source).params, run.overrides, [catalog.check])
        except ParamsError as error:
            faults |= dict.fromkeys(f"{change.name}: {fault}" for fault in error.faults)
    if faults:
        raise ParamsError(list(faults))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ppo.autopsy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="Exit codes: 0 done, 1 a fork failed, 2 refused and nothing started, 3 stopped by a "
        "signal, with every fork saved.",
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="folder of the run that fell")
    add("--at", metavar="STEP", help="look at what follows this step, not at the deepest fall")
    add("--logdir", type=Path, help="folder of the autopsy; default RUN-autopsy")
    add("--updates", default="40", metavar="N", help="updates of each fork, default 40")
    add("--seeds", default="1,2,3,4,5", metavar="1,2,3", help="seeds of each change")
    add(
        "--workers",
        default=str(default_threads()),
        metavar="N",
        help="forks at a time; default: one a core",
    )
    add(
        "--change",
        action="append",
        default=[],
        metavar="NAME:KEY=VALUE,...",
        help="a change of your own; without --only the usual ones are then left out",
    )
    add("--only", action="append", default=[], metavar="NAME", help="one of the usual changes")
    return parser.parse_args(arguments)
