"""The loop of a run: iterations, the observers, and when to save."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ppo.checkpoint import Checkpoint
from ppo.errors import Collapsed, Diverged, EnvironmentFailed, WorkerLost
from ppo.runs.keeper import Keeper
from ppo.runs.observers import Evaluator, Observer
from ppo.runs.trainer_state import capture
from ppo.system.signals import Interrupted
from ppo.telemetry.scalars import SCORE
from ppo.trainer import Trainer


@dataclass(eq=False)
class Loop:
    """Train until the run is finished or asked to stop. The observers see each iteration, then act
    in their order. ``keeper`` and ``evaluator`` are two of them.
    """

    trainer: Trainer
    observers: Sequence[Observer]
    keeper: Keeper
    evaluator: Evaluator
    stop: Callable[[], bool]
    _is_saved: bool = field(default=False, init=False)  # whether the state is as it was saved

    @property
    def done(self) -> bool:
        """Whether nothing remains to do, not even an interrupted evaluation."""
        return self.trainer.finished and not self._due()

    @property
    def state(self) -> Checkpoint:
        """The state of the whole run."""
        saved = capture(self.trainer)
        arrays = {name: array for one in self.observers for name, array in one.arrays().items()}
        parts = {one.name: one.state().model_dump() for one in self.observers if one.name}
        return replace(saved, arrays=saved.arrays | arrays, parts=parts)

    def run(self) -> None:
        """Train until the end or a stop, then save the state. Raises Collapsed. Raises Diverged,
        after its batch is saved if possible. Raises WorkerLost or EnvironmentFailed, after the last
        iteration's state is saved.
        """
        try:
            if self._due():
                self._act()
            for iteration in self.trainer.iterations(self.stop):
                for observer in self.observers:
                    observer.see(iteration)
                self._act()
        except Collapsed:
            self._save()
            raise
        except (WorkerLost, EnvironmentFailed):
            self._settle(lambda: True)
            self.keeper.save_latest()
            raise
        except Diverged as error:
            self.keeper.save_batch(error)
            raise
        if not self._is_saved:
            self._save(scored=self.trainer.finished)  # no best.ckpt because of a stop

    def _act(self) -> None:
        """Let due observers act, and save if one asks for it. After a stop they stay due."""
        saves = self._is_saved = False
        if due := self._due():
            self.keeper.check_folder()
        if any(observer.saves for observer in due):
            self.keeper.remember(self.state)
        try:
            for observer in self.observers:
                if observer.due:
                    observer.act(self.trainer.step, self.stop)
                    saves |= observer.saves
        except Interrupted:
            return
        if saves:
            self._save()
        else:
            self.keeper.remember(self.state)

    def _due(self) -> list[Observer]:
        return [observer for observer in self.observers if observer.due]

    def _settle(self, stop: Callable[[], bool]) -> None:
        for observer in self.observers:
            observer.settle(stop)

    def _save(self, scored: bool = True) -> None:
        self._settle(self.stop)
        self.keeper.check_folder()
        self.keeper.save(self.state, self._score() if scored else None)
        self._is_saved = True

    def _score(self) -> float | None:
        """Return the score that selects the best policy. With evaluations it is their mean, None
        between them. Otherwise it is the mean of the last 100 games, None before the first.
        """
        if self.trainer.params.evaluation_interval:
            return self.evaluator.score_at(self.trainer.step)
        return self.trainer.totals().get(SCORE)
