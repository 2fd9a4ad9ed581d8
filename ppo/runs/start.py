"""What a run starts from. It is known before TensorFlow is imported."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge
from pydantic import AfterValidator, Field, FiniteFloat

from ppo.checkpoint import Checkpoint, State
from ppo.envs.episode import Rules
from ppo.files.origin import Changes
from ppo.settings import Params
from ppo.system.numerics import differences
from ppo.system.reading import Step
from ppo.telemetry.counters import Tally

GAME_RULES = {field.name for field in fields(Rules)}  # settings of the same names

# Which unfinished episodes of a checkpoint continue: in a resume all of them; in a fork as many as
# there are envs, or none if their rules change.
Continued = Literal["all", "as many as fit", "none"]


def _usable(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a run's settings. Raises ValueError if a number in them cannot be used."""
    if any(isinstance(value, float) and not math.isfinite(value) for value in settings.values()):
        raise ValueError("a setting is not finite")
    for name in ("num_envs", "num_steps", "workers"):
        if type(settings.get(name, 1)) is not int or settings.get(name, 1) < 1:
            raise ValueError(f"{name} is not a number from 1 on")
    return settings


class RunState(State):
    """A run's own state: its best score so far, its time, its settings, and the versions that
    affect its bits. ``changed`` lists each change by a resume: the step, the setting and its value
    before; it is None if earlier versions wrote the run. The other defaults describe a new run.
    """

    PART: ClassVar[str] = "run"  # its name in a checkpoint

    # Earlier versions stored NaN if the first score was NaN.
    best_saved: Annotated[
        float | None, AfterValidator(lambda s: s if math.isfinite(s or 0) else None)
    ] = None
    seconds: Annotated[FiniteFloat, Ge(0)] = 0.0
    params: Annotated[dict[str, Any], AfterValidator(_usable)] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    changed: tuple[tuple[Step, str, Any], ...] | None = None


def run_of(saved: Checkpoint) -> RunState:
    """Return a run's own state. Raises CheckpointError for a state that no run wrote."""
    return saved.part(RunState.PART, RunState)


def for_fork(saved: Checkpoint, changed: bool = False) -> Checkpoint:
    """Return another run's checkpoint without the state of its files: a fork has its own. If its
    settings ``changed``, its log begins without the scalars that the other run did not log yet.
    """
    new: dict[str, dict[str, Any]] = {
        "log": {"sizes": {}} | ({"means": {}} if changed else {}),
        "video": {"shown": None},
        "wandb": {"id": None},
        RunState.PART: {"best_saved": None, "changed": ()},
    }
    own = {name: saved.parts.get(name, {}) | changes for name, changes in new.items()}
    return replace(saved, parts=saved.parts | own)


def is_finished(saved: Checkpoint, params: Params) -> bool:
    """Whether a saved run has nothing left to do with these settings."""
    return saved.trainer.tally.ends_run(saved.step, params) and not is_due(saved)


def is_due(saved: Checkpoint) -> bool:
    """Whether an observer of the run had work left when it was saved."""
    return any(part.get("due") for part in saved.parts.values())


def overrides_to_continue(step: int, tally: Tally, params: Params) -> list[str]:
    """Return the overrides that continue a run that finished at a step."""
    steps = [f"total_steps={2 * step}"] if step >= params.total_steps else []
    return [*steps, "stop_at_score=null"] if tally.reached_score(params) else steps


@dataclass(frozen=True)
class Start:
    """The start of a run: a checkpoint to resume from, or none.

    ``changes`` are the settings that differ from the checkpoint's settings, each before and now.
    ``new_games`` permits new games where unfinished ones cannot be restored. ``fork_of`` is the run
    that wrote the checkpoint, if it is another run. ``unstored`` are the changes that params.json
    does not have yet.
    """

    checkpoint: Checkpoint | None = None
    changes: Changes = field(default_factory=dict)
    new_games: bool = False
    fork_of: Path | None = None
    unstored: Changes = field(default_factory=dict)

    @property
    def step(self) -> int:
        return self.checkpoint.step if self.checkpoint else 0

    @property
    def continued(self) -> Continued:
        if self.fork_of is None:
            return "all"
        return "none" if self.changes.keys() & GAME_RULES else "as many as fit"

    def differences(
        self, versions: dict[str, str], schedules: tuple[float, float]
    ) -> Iterator[str]:
        """Yield a line for each difference from the checkpoint: in versions, settings, rates."""
        if not self.checkpoint:
            return
        for name, old, new in differences(run_of(self.checkpoint).versions, versions):
            yield (
                f"{name} was {old} and is {new}: the run's bits may differ from an uninterrupted "
                "run's"
            )
        for key, (before, now) in self.changes.items():
            yield f"{key}: {before!r} before, now {now!r}"
        if self.changes and self.checkpoint.trainer.schedules:
            pairs = zip(self.checkpoint.trainer.schedules, schedules, strict=True)
            for name, (rate, rate_now) in zip(("learning rate", "clip range"), pairs, strict=True):
                if f"{rate:.3g}" != f"{rate_now:.3g}":
                    yield f"{name} at this step: {rate:.3g} before, now {rate_now:.3g}"
