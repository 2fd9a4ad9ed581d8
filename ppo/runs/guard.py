"""The guard against a collapse: it watches the points per step, warns, and if asked to puts the
policy back that was healthy.
"""

from collections.abc import Callable

import numpy as np

from ppo.checkpoint import Checkpoint, GuardFacts, grouped
from ppo.falls import Watch
from ppo.outcomes import Collapsed
from ppo.settings import ResolvedParams
from ppo.trainer import POINTS, Iteration, Learner, Trainer

MOST_ROLLBACKS = 3
# A policy counts as healthy once so many rollouts went by without evidence against it.
CONFIRMED_AFTER = 20
# The policies that it keeps, by the names under which a checkpoint has them.
HEALTHY, CANDIDATE = "healthy", "candidate"


class Guard:
    """Sees every iteration, and acts on behaviour alone. All that it decides follows from what it
    has seen, and its state is part of every checkpoint: a run that was killed and resumed is rolled
    back at the same steps.
    """

    def __init__(self, trainer: Trainer, params: ResolvedParams, say: Callable[[str], None]):
        self.trainer, self.mode, self.say = trainer, params.collapse_guard, say
        self.watch, self.quiet, self.told = Watch(), 0, False
        self.kept: dict[str, Learner] = {}

    def begin(self) -> None:
        """Keep the policy as it is before the first iteration: the one to put back until another
        is known to be healthy, such as that of a fork's origin.
        """
        if self.mode != "rollback" or self.kept:
            return
        self.kept[HEALTHY] = self.trainer.learner()
        if self.told:  # it fell while the guard only warned: what is left counts as healthy
            self.watch, self.told = Watch(), False

    def see(self, iteration: Iteration) -> None:
        """Add the iteration's points per step to the evidence, and act on it. Raises Collapsed if
        the policy has fallen again after MOST_ROLLBACKS.
        """
        if self.mode == "off":
            return
        self.watch = self.watch.after(iteration.scalars[POINTS])
        self.quiet = 0 if self.watch.evidence else self.quiet + 1
        if not self.watch.alarmed:
            self.told &= self.watch.evidence > 0
            if self.mode == "rollback":
                self._keep()
        elif self.mode == "rollback":
            self._roll_back(iteration.step)
        elif not self.told:
            self.told = True
            self.say(
                f"step {iteration.step:,}: the policy has fallen, by more than half of what it had "
                f"reached ({_level(self.watch.best)} before); --explain tells what came first. "
                "--fork=RUN@STEP goes on from a checkpoint before that, and with --set "
                "collapse_guard=rollback a policy that falls is put back by itself"
            )

    def facts(self) -> GuardFacts:
        """What it goes on from, beside ``arrays``."""
        return GuardFacts(**vars(self.watch), quiet=self.quiet, told=self.told)

    def arrays(self) -> dict[str, np.ndarray]:
        """The policies that it keeps, with their optimisers."""
        return {
            name: array
            for state, learner in self.kept.items()
            for part, arrays in learner._asdict().items()
            for name, array in grouped(f"{state}_{part}", arrays).items()
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint."""
        facts, mode = checkpoint.session.guard, checkpoint.session.params.get("collapse_guard")
        if mode != "off":  # else they are of long ago, as the policy may have fallen unseen
            self.watch = Watch(facts.recent, facts.best, facts.low, facts.evidence)
            self.quiet, self.told = facts.quiet, facts.told
        if mode != "rollback" or self.mode != "rollback":
            return  # what was kept is of long ago, or of no use
        for state in (HEALTHY, CANDIDATE):
            learner = Learner(*(checkpoint.group(f"{state}_{part}") for part in Learner._fields))
            if learner.weights:
                self.kept[state] = learner

    def _keep(self) -> None:
        """Keep a candidate; it is healthy once enough rollouts spoke for it, and then the next is
        kept.
        """
        if self.quiet == 0:
            self.kept.pop(CANDIDATE, None)
        elif self.quiet % CONFIRMED_AFTER == 0:
            if CANDIDATE in self.kept:
                self.kept[HEALTHY] = self.kept[CANDIDATE]
            self.kept[CANDIDATE] = self.trainer.learner()

    def _roll_back(self, step: int) -> None:
        if self.trainer.rollbacks == MOST_ROLLBACKS:
            raise Collapsed(step, MOST_ROLLBACKS)
        self.trainer.roll_back(self.kept[HEALTHY])
        self.kept.pop(CANDIDATE, None)
        rate, _ = self.trainer.scheduled_at(step)
        self.say(
            f"step {step:,}: the policy has fallen from {_level(self.watch.best)}. The healthy one "
            f"is put back with its optimiser, and the learning rate halved, to {rate:.3g} "
            f"(rollback {self.trainer.rollbacks} of at most {MOST_ROLLBACKS})"
        )
        self.watch, self.quiet = self.watch.restarted(), 0


def _level(points: float) -> str:
    return f"{points:.3g} points a step"
