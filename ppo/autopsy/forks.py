"""The forks of an autopsy and their outcomes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from ppo import params
from ppo.autopsy import verdict
from ppo.autopsy.case import Case
from ppo.autopsy.changes import UNCHANGED, Change
from ppo.envs import checks
from ppo.errors import Refused
from ppo.files.folder import RunFolder
from ppo.settings import Params, marked
from ppo.sweep.grid import Run, folder_name
from ppo.sweep.parallel import diverged
from ppo.system.device import default_threads
from ppo.telemetry import progress
from ppo.telemetry.scalars import POINTS

# A fork logs every update, and omits everything else that takes time.
QUIET: dict[str, object] = marked("off") | {
    "log_interval": 1,
    "checkpoints_kept": 1,
    "learning_rate_schedule": "constant",
    "clip_range_schedule": "constant",
}


@dataclass(frozen=True)
class Plan:
    """The parsed arguments."""

    case: Case
    logdir: Path
    changes: list[Change]
    seeds: list[int]
    updates: int
    workers: int

    @cached_property
    def settings(self) -> Callable[[Run], Params]:
        """Return a function that gives the checked settings of a fork. It raises ParamsError."""
        source = RunFolder(self.case.source).params
        return cache(lambda run: params.load_run(source, run.overrides, [checks.check]))

    def runs(self) -> list[Run]:
        """Return the forks seed by seed, so an interrupted autopsy has some of each change."""
        return [self.run(change, seed) for seed in self.seeds for change in self.changes]

    def run(self, change: Change, seed: int) -> Run:
        # An invalid size is refused later, with all other faults of the settings.
        sizes = {
            key: size
            for key in ("num_envs", "num_steps")
            if isinstance(size := change.settings.get(key), int)
        }
        steps = self.updates * self.case.settings.model_copy(update=sizes).batch_size
        own = {
            "total_steps": self.case.step + steps,
            "checkpoint_interval": steps,
            "seed": seed,
            "workers": 1,
            "threads": max(1, default_threads() // self.workers),
        }
        settings = {**self.case.differing, **QUIET, **own, **change.settings}
        overrides = tuple(params.texts(settings))
        folder = self.logdir / folder_name(change.name) / f"seed-{seed}"
        return Run(change.name, seed, overrides, folder)


def outcomes_of(plan: Plan) -> list[verdict.Outcome]:
    """Return the outcomes of the forks with each change. KL and gain are of the updates, at least
    one, before the mean of the unchanged forks is below SURVIVES. Raises Refused.
    """
    forks = {
        change.name: [_fork(plan, change, seed) for seed in plan.seeds] for change in plan.changes
    }
    shortest = min(len(kept) for kept, _, _ in forks[UNCHANGED])  # a log may lack a row
    mean = np.mean([kept[:shortest] for kept, _, _ in forks[UNCHANGED]], axis=0)
    collapsed = np.flatnonzero(mean < verdict.SURVIVES)
    updates = max(1, int(collapsed[0])) if len(collapsed) else shortest
    return [
        verdict.Outcome(
            change,
            kept=[kept for kept, _, _ in own],
            kl=_known([kl[:updates].mean() for _, kl, _ in own]),
            gain=_known([gain[:updates].mean() for _, _, gain in own]),
        )
        for change, own in zip(plan.changes, forks.values(), strict=True)
    ]


def _known(values: list[float]) -> np.ndarray:
    """Return the values of the forks that have one: those that diverged at once have none."""
    known = np.array(values)
    return known[np.isfinite(known)] if np.isfinite(known).any() else known


def _fork(plan: Plan, change: Change, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each update, return the share kept by its rollout, its KL, and its surrogate's gain. A
    fork that diverged keeps nothing in the updates that it lacks, which have no KL and no gain.
    """
    tags = POINTS, "train/approx_kl", "train/surrogate_gain_last"
    run = plan.run(change, seed)
    rows = progress.numbers(run.folder)[: plan.updates]
    lost = plan.updates - len(rows) if diverged(run) else 0
    if not rows and lost:
        rows, lost = [dict(zip(tags, (plan.case.bottom, np.nan, np.nan), strict=True))], lost - 1
    if not rows:
        raise Refused(f"{change.name}, seed {seed}, has no log")
    if missing := [tag for row in rows for tag in tags if tag not in row]:
        raise Refused(f"{change.name}, seed {seed}, has an update without {missing[0]}")
    points, kl, gain = np.array([[row[tag] for tag in tags] for row in rows]).T
    return np.pad(plan.case.kept(points), (0, lost)), kl, gain
