"""The collapse that an autopsy examines, and the checkpoint before it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ppo import checkpoint, params
from ppo.checkpoint import Checkpoint, CheckpointError
from ppo.envs import checks
from ppo.envs.registry import resolved
from ppo.errors import Refused
from ppo.files import origin
from ppo.files.folder import RunFolder
from ppo.runs.start import run_of
from ppo.settings import FIXED_ON_FORK, INCIDENTAL, Params, ResolvedParams
from ppo.settings.schedules import scheduled
from ppo.system.reading import first_fault
from ppo.telemetry import collapse, progress

STD = "train/advantage_std"

# Of a collapse: the step at which the last good rollout began, or the given step; points per step
# before it and at which nothing is left; and its description.
Drop = tuple[int, float, float, str]


@dataclass(frozen=True)
class Case:
    """A collapse, and the checkpoint before it."""

    settings: ResolvedParams  # at the checkpoint's step, with the rates of that step
    source: Path  # folder of the checkpoint's run
    step: int  # of the checkpoint
    differing: Mapping[str, object]  # settings with another value than in the checkpoint's run
    peak: float  # points per step before the collapse
    bottom: float  # points per step at which nothing is left
    advantage_std: float | None  # just before the collapse, if known
    description: str

    def kept(self, points: np.ndarray) -> np.ndarray:
        """Return the share of the height, from bottom to peak, that each level keeps."""
        return (points - self.bottom) / (self.peak - self.bottom)


def case_of(run: Path, at: int | None = None) -> Case:
    """Return the collapse of a run: the deepest one, or what follows a given step. Raises
    Refused, FolderError, ParamsError and CheckpointError.
    """
    log = progress.history(run)
    now = params.load_run(RunFolder(run).params, checks=[checks.check])
    rows = [row for row in log if math.isfinite(progress.points(row))]
    size = now.steps_per_iteration
    drop = _deepest_collapse(rows, size) if at is None else _drop_after(rows, at)
    if drop is None:
        raise Refused(f"{run} has not collapsed; name a step with --at=STEP")
    good, peak, bottom, description = drop
    if peak <= bottom:
        raise Refused(
            f"{run}: the score up to step {good:,} is missing, or is the lowest in the log; name "
            "another step"
        )
    source, step = _checkpoint_before(run, good)
    saved = checkpoint.chosen(RunFolder(source), step)
    settings = _with_rates_of(_settings_at(run, step, now), saved)
    source_params = params.load_run(RunFolder(source).params)
    # The origin's file must not name a module that this run's params.json does not name.
    if any(getattr(source_params, key) != getattr(now, key) for key in FIXED_ON_FORK):
        raise Refused(f"{run} is not a fork of {source}, which has another game or network")
    differing = {
        key: value
        for key, value in settings
        if value != getattr(source_params, key) and key not in INCIDENTAL
    }
    known = [row for row in log if row["step"] <= good + size and STD in row]
    advantage_std = known[-1][STD] if known else None
    return Case(settings, source, step, differing, peak, bottom, advantage_std, description)


def _drop_after(rows: Sequence[progress.Row], step: int) -> Drop:
    """Return the drop at a given step, down to the lowest reading of the whole log."""
    before = [progress.points(row) for row in rows if row["step"] <= step][-collapse.MEDIAN_OVER :]
    peak = float(np.median(before)) if before else -math.inf
    return step, peak, min(map(progress.points, rows), default=0.0), f"what follows step {step:,}"


def _deepest_collapse(rows: Sequence[progress.Row], batch_size: int) -> Drop | None:
    """Return the deepest collapse, and the step at which its last good rollout began."""
    worst = collapse.find([progress.points(row) for row in rows])
    if worst is None:
        return None
    step = int(rows[worst.onset]["step"])
    description = (
        f"a collapse from {worst.peak:.4g} to {worst.bottom_level:.4g} points a step, after the "
        f"rollout that ended at step {step:,}"
    )
    return step - batch_size, worst.peak, min(worst.bottom_level, worst.low), description


def _settings_at(run: Path, step: int, now: Params) -> ResolvedParams:
    """Return the settings that the run had at a step. They come from the checkpoint of that step or
    the first one after it, because a resume may have changed them since. Without such a checkpoint,
    the settings are ``now``.
    """
    saved_steps = checkpoint.steps(RunFolder(run))
    known = [saved for saved in saved_steps if saved <= step][:1] or saved_steps[-1:]
    before = run_of(checkpoint.chosen(RunFolder(run), known[0])).params if known else {}
    # A checkpoint must not name a module that params.json does not name.
    own = {key: getattr(now, key) for key in FIXED_ON_FORK}
    try:
        return resolved(Params.model_validate(now.model_dump() | before | own))
    except ValidationError as error:
        raise CheckpointError(
            f"{run}: the settings of its checkpoint of step {known[0]:,} are invalid: "
            f"{first_fault(error)}"
        ) from error


def _with_rates_of(settings: ResolvedParams, saved: Checkpoint) -> ResolvedParams:
    """Return the settings with the learning rate and the clip range after a checkpoint, constant.
    Cuts by rollbacks count, unless the run is a fork with a new rate. A fork keeps the cuts by
    ``learning_rate_kl`` itself, and can recover from them.
    """
    step, total = saved.step, settings.end_from(saved.step)
    rate = scheduled(settings.learning_rate_schedule, settings.learning_rate, step, total)
    if settings.learning_rate == run_of(saved).params.get("learning_rate", settings.learning_rate):
        rate *= saved.trainer.tally.rate_share
    clip = scheduled(settings.clip_range_schedule, settings.clip_range, step, total)
    return settings.model_copy(update={"learning_rate": rate, "clip_range": clip})


def _checkpoint_before(run: Path, step: int) -> tuple[Path, int]:
    """Return folder and step of the newest checkpoint up to a step, of the run or an ancestor."""
    for place, until, _ in origin.lineage(run, step):
        if steps := [saved for saved in checkpoint.steps(RunFolder(place)) if saved <= until]:
            return place, steps[0]
    raise CheckpointError(
        f"{place} has no checkpoint up to step {until:,}: run it again with its seed and with "
        "keep_checkpoints_from=0, or fork it before that step, and call this again"
    )
