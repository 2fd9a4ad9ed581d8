"""A run's checkpoints: the newest, the best, and the last resort of a stop."""

import threading
import time
from dataclasses import replace

from ppo import checkpoint
from ppo.checkpoint import Checkpoint, Due, SessionFacts
from ppo.errors import ExitCode
from ppo.files.folder import RunFolder
from ppo.files.log import RunningMeans
from ppo.process import numerics
from ppo.runs.guard import Guard
from ppo.settings import ResolvedParams
from ppo.state import capture
from ppo.trainer import Trainer

# How long the last resort waits for a save in progress; only one that hangs takes longer.
LOCK_SECONDS = 1.5


class Keeper:
    """Saves a run's checkpoints, from the main thread, or from the one that ends a stop which takes
    too long.
    """

    def __init__(
        self,
        folder: RunFolder,
        params: ResolvedParams,
        began: float,
        best_saved: float | None = None,
    ):
        """``began`` is the run's start, by time.monotonic(), as if it had had no pauses."""
        self.folder, self.params, self.began = folder, params, began
        self.best_saved = best_saved
        self.versions = numerics.facts()
        self._saving = threading.Lock()
        self._reached: Checkpoint | None = None

    @property
    def seconds(self) -> float:
        """Time the run has taken so far."""
        return time.monotonic() - self.began

    def state(
        self,
        trainer: Trainer,
        guard: Guard,
        means: RunningMeans,
        due: Due,
        log_sizes: dict[str, int],
        pictured: int | None = None,
    ) -> Checkpoint:
        """The state from which the run resumes."""
        session = SessionFacts(
            best_saved=self.best_saved,
            seconds=self.seconds,
            means=means.state(),
            due=due,
            guard=guard.facts(),
            params=self.params.model_dump(),
            versions=self.versions,
            schedules=trainer.scheduled_at(trainer.step),
            log=log_sizes,
            pictured=pictured,
        )
        state = capture(trainer)
        return replace(state, session=session, arrays=state.arrays | guard.arrays())

    def reached(self, state: Checkpoint) -> None:
        """Set the state that the last resort saves, unless a save comes first."""
        self._reached = state

    def save(self, state: Checkpoint, score: float | None = None) -> None:
        """Write a checkpoint, as the best one too if its policy's score is the highest so far."""
        best = score is not None and (self.best_saved is None or score > self.best_saved)
        if best:
            self.best_saved = score
            session = state.session.model_copy(update={"best_saved": score})
            state = replace(state, session=session)
        with self._saving:
            self._write(state, best)
            self._reached = None

    def save_reached(self) -> None:
        """Write the state that was reached, if it is not saved already."""
        with self._saving:
            if self._reached:
                self._write(self._reached, best=False)

    def last_resort(self) -> tuple[ExitCode, str]:
        """Save the state that was reached, whatever the main thread is doing. Returns the exit code
        and a message. Waits LOCK_SECONDS at most for a save in progress.
        """
        if not self._saving.acquire(timeout=LOCK_SECONDS):
            return (
                ExitCode.FAILED,
                "stopped, but the disk does not answer: resume from the newest checkpoint",
            )
        try:
            if self._reached:
                self._write(self._reached, best=False)
        except BaseException as error:
            return ExitCode.FAILED, f"stopped, but the last steps could not be saved: {error}"
        return (
            ExitCode.STOPPED,
            "stopped; the work under way was abandoned, everything before it is saved",
        )

    def prune(self, step: int) -> None:
        """Remove the checkpoints up to a step that a killed process had not yet removed."""
        params = self.params
        checkpoint.prune(self.folder, step, params.checkpoints_kept, params.checkpoints_always_kept)

    def _write(self, state: Checkpoint, best: bool) -> None:
        params = self.params
        checkpoint.save(
            self.folder, state, params.checkpoints_kept, best, params.checkpoints_always_kept
        )
