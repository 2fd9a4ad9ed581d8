"""The level from which the guard starts if a checkpoint has none."""

import math
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from ppo.checkpoint import Checkpoint, State
from ppo.files import origin
from ppo.files.folder import FolderError
from ppo.runs.start import run_of
from ppo.settings import ResolvedParams
from ppo.settings.fields import GameSettings
from ppo.telemetry import progress
from ppo.telemetry.collapse import MEDIAN_OVER, Watch
from ppo.telemetry.counters import Count

# Settings that change the points per step of the same policy. ``env_id`` is not among them, because
# only the number in a factory's id may change.
AFFECTS_POINTS = {*GameSettings.model_fields, "picture_scaling"}
AFFECTS_POINTS -= {"env_id", "num_envs", "clip_rewards", "terminal_on_life_loss"}


class GuardState(State):
    """What the guard knows; see ``ppo.runs.guard``. ``kept`` has the watch of each kept policy at
    the time it was kept. ``warned`` is whether the collapse was reported.
    """

    PART: ClassVar[str] = "guard"  # its name in a checkpoint

    mode: str | None = None
    watch: Watch = Watch()
    quiet: Count = 0
    warned: bool = False
    kept: dict[str, Watch] = Field(default_factory=dict)


def with_known_level(saved: Checkpoint, run: Path, now: ResolvedParams) -> Checkpoint:
    """Return the checkpoint with the level of its policy. If its guard was off or knew nothing, the
    level follows from its last games and the log of ``run``. If a setting in AFFECTS_POINTS
    changed, only the lowest level is kept. A guard that has just restored the initial policy
    continues without a level, as in the unbroken run.
    """
    before, guard = run_of(saved).params, saved.part(GuardState.PART, GuardState)
    if guard.mode == "off" or (guard.watch.knows_nothing and not guard.kept):
        guard = GuardState(mode=guard.mode, watch=_level(saved, run))
    if any(key in before and before[key] != getattr(now, key) for key in AFFECTS_POINTS):
        # These settings hardly change the lowest level.
        guard = GuardState(mode=guard.mode, watch=Watch(low=guard.watch.low))
    # The points are noisier if a rollout has fewer steps to average.
    sizes = [before.get(key, getattr(now, key)) for key in ("num_envs", "num_steps", "workers")]
    ratio = math.sqrt(math.prod(sizes) / now.steps_per_iteration)
    kept = {name: watch.scaled(ratio) for name, watch in guard.kept.items()}
    scaled = {"watch": guard.watch.scaled(ratio), "kept": kept}
    return saved.with_part(GuardState.PART, guard.model_copy(update=scaled))


def _level(saved: Checkpoint, run: Path) -> Watch:
    """Return a watch with the level of a policy. Its last games and its log lag behind a policy
    that changes, so the lower of the two levels counts.
    """
    logged, recent = _logged(run, saved.step), saved.trainer.tally.recent
    ends = range(MEDIAN_OVER, len(logged) + 1)
    medians = [float(np.median(logged[end - MEDIAN_OVER : end])) for end in ends]
    levels = medians[-1:]
    if steps := sum(steps for _, steps in recent):
        levels.append(sum(score for score, _ in recent) / steps)
    levels = [level for level in levels if math.isfinite(level)]
    return Watch(best=min(levels), low=min(levels + medians)) if levels else Watch()


def _logged(run: Path, step: int) -> list[float]:
    """Return the points per step logged up to a step. Include the runs from which this run was
    forked, if they can be read and were played under the same settings.
    """
    points: list[float] = []
    with suppress(FolderError, OSError):
        for place, until, changes in origin.lineage(run, step):
            if AFFECTS_POINTS & changes.keys():
                break
            rows = [row for row in progress.numbers(place) if row["step"] <= until]
            points = [p for p in map(progress.points, rows) if math.isfinite(p)] + points
    return points
