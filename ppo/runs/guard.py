"""The guard against a collapse: it warns, or in rollback mode restores a healthy policy."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ppo.checkpoint import Checkpoint, grouped
from ppo.errors import Collapsed, NotFinite
from ppo.evaluate.evaluate import evaluate, with_short_games
from ppo.runs.level import GuardState
from ppo.runs.observers import Observer
from ppo.settings import ResolvedParams
from ppo.system.signals import Interrupted
from ppo.telemetry.collapse import Watch
from ppo.telemetry.counters import MOST_ROLLBACKS
from ppo.telemetry.scalars import POINTS
from ppo.trainer import Iteration, LearnerState, Trainer

# A policy at its best becomes the candidate after this many rollouts without evidence against it,
# and the healthy policy after as many again.
CONFIRMED_AFTER = 20
# The kept policies, by their names in a checkpoint.
HEALTHY, CANDIDATE = "healthy", "candidate"
# The parts of a LearnerState, by their names in a checkpoint.
PARTS = ("weights", "adam", "smoothed")
GAMES = 10  # played if nothing else shows a policy's level


class Kept(NamedTuple):
    """A policy that the guard keeps, and the state of the watch at that time."""

    learner: LearnerState
    watch: Watch


class Guard(Observer):
    """Watch the points per step, and warn or roll back. All decisions follow from past iterations,
    and the guard's state is part of every checkpoint. So a run that was killed and resumed is
    rolled back at the same steps.
    """

    name = GuardState.PART

    def __init__(self, trainer: Trainer, params: ResolvedParams, say: Callable[[str], None]):
        self.trainer, self.mode, self.say = trainer, params.collapse_guard, say
        self.watch, self.quiet, self.warned = Watch(), 0, False
        self.kept: dict[str, Kept] = {}
        self._continues = False  # with kept policies whose watches are known

    def begin(self) -> None:
        """Keep the policy as it is before the first iteration, such as the policy of a fork's
        origin. A rollback restores it until another policy is healthy.
        """
        if self.mode != "rollback" or self.kept:
            return
        if self.warned:  # it collapsed while the guard only warned: what is left counts as healthy
            self.watch, self.warned = Watch(best=self.watch.level, low=self.watch.low), False
        self._keep_as(HEALTHY)

    def measure(self, interrupted: Callable[[], bool]) -> None:
        """Measure the level if it is unknown: the first worker measures it and shares it. Raises
        Interrupted and WorkerLost.
        """
        known = self.mode == "off" or self._continues or not self.watch.knows_nothing
        if known or self.trainer.finished or not self.trainer.step:
            return
        measures = self.trainer.workers.index == 0
        measured = self.trainer.workers.broadcast(self._measured(interrupted) if measures else b"")
        if not measured:
            raise Interrupted
        level = float(measured)
        if math.isfinite(level):
            self.watch = Watch(best=level, low=min(level, self.watch.low))
            self.kept = {}  # the kept policies have no known level

    def _measured(self, interrupted: Callable[[], bool]) -> bytes:
        """Return the points per step of whole games as text; empty if interrupted."""
        trainer, params = self.trainer, with_short_games(self.trainer.params)
        try:
            games = evaluate(trainer.policy, params, GAMES, trainer.step, interrupted)
        except Interrupted:
            return b""
        except NotFinite:  # the level remains unknown
            return b"nan"
        level = games.mean / games.mean_steps
        self.say(f"collapse_guard: the policy begins at {_level(level)}, measured in {GAMES} games")
        return repr(level).encode()

    def see(self, iteration: Iteration) -> None:
        """Add the iteration's points per step to the evidence, and act on it. Raises Collapsed."""
        if self.mode == "off":
            return
        self.watch = self.watch.after(iteration.scalars[POINTS])
        self.quiet = 0 if self.watch.evidence else self.quiet + 1
        if not self.watch.alarmed:
            # Without evidence left, the next collapse is reported again.
            self.warned &= self.watch.evidence > 0
            if self.mode == "rollback":
                self._keep()
        elif self.mode == "rollback":
            self._roll_back(iteration.step)
        elif not self.warned:
            self.warned = True
            self.say(
                f"step {iteration.step:,}: the policy has collapsed, from "
                f"{_level(self.watch.best)} to {_level(self.watch.level)}. --explain says what "
                "came first. --fork=RUN@STEP begins a new run from a checkpoint before the "
                "collapse. With --set collapse_guard=rollback a run restores a healthy policy by "
                "itself"
            )

    def state(self) -> GuardState:
        return GuardState(
            mode=self.mode,
            watch=self.watch,
            quiet=self.quiet,
            warned=self.warned,
            kept={state: kept.watch for state, kept in self.kept.items()},
        )

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            name: array
            for state, kept in self.kept.items()
            for part, arrays in zip(PARTS, kept.learner, strict=True)
            for name, array in grouped(f"{state}_{part}", arrays).items()
        }

    def restore(self, saved: Checkpoint) -> None:
        known = saved.part(self.name, GuardState)
        if self.mode == "off":
            return  # an off guard may miss a collapse
        self.watch, self.quiet, self.warned = known.watch, known.quiet, known.warned
        if known.mode != "rollback" or self.mode != "rollback":
            return  # the kept policies are stale, or this mode does not use them
        for state in (HEALTHY, CANDIDATE):
            learner = LearnerState(*(saved.group(f"{state}_{part}") for part in PARTS))
            if learner.weights:
                watch = known.kept.get(state) or self.watch.restarted()
                self.kept[state] = Kept(learner, watch)
        self._continues = bool(known.kept)

    def _keep(self) -> None:
        """Drop the candidate if there is evidence against the policy. After every CONFIRMED_AFTER
        rollouts without evidence, if the policy is at its best, the candidate becomes the healthy
        policy and the present policy the candidate. A policy below its best may be collapsing.
        """
        if self.quiet == 0:
            self.kept.pop(CANDIDATE, None)
        elif self.quiet % CONFIRMED_AFTER == 0 and self.watch.is_at_its_best:
            if CANDIDATE in self.kept:
                self.kept[HEALTHY] = self.kept[CANDIDATE]
            self._keep_as(CANDIDATE)

    def _keep_as(self, state: str) -> None:
        self.kept[state] = Kept(self.trainer.learner(), self.watch)

    def _roll_back(self, step: int) -> None:
        if self.trainer.tally.rollbacks == MOST_ROLLBACKS:
            raise Collapsed(step, MOST_ROLLBACKS)
        healthy = self.kept[HEALTHY]
        self.trainer.roll_back(healthy.learner)
        self.kept.pop(CANDIDATE, None)
        rate, _ = self.trainer.schedules_at(step)
        self.say(
            f"step {step:,}: the policy has collapsed from {_level(self.watch.best)}. The healthy "
            f"policy and its optimiser are restored, and the learning rate is cut to {rate:.3g} "
            f"(rollback {self.trainer.tally.rollbacks} of at most {MOST_ROLLBACKS})"
        )
        self.watch, self.quiet = replace(healthy.watch, evidence=0.0), 0


def _level(points: float) -> str:
    return f"{points:.3g} points a step"
