"""A run's checkpoints: the newest, the best, and the last resort of a stop."""

import threading
import time
from collections.abc import Callable
from typing import Any

from ppo import checkpoint
from ppo.checkpoint import Checkpoint
from ppo.errors import Diverged, ExitCode
from ppo.files import npz
from ppo.files.atomic import write_whole
from ppo.files.folder import FolderGone, RunFolder
from ppo.files.origin import Changes
from ppo.runs.observers import Observer
from ppo.runs.start import RunState, run_of
from ppo.settings import ResolvedParams
from ppo.system import numerics

# How long the last resort waits for a save in progress. Only a save that hangs takes longer.
LOCK_SECONDS = 1.5


class Keeper(Observer):
    """Save a run's checkpoints, from the main thread or from the thread that ends a slow stop."""

    name, saves = RunState.PART, True

    def __init__(
        self, folder: RunFolder, params: ResolvedParams, began: float, say: Callable[[str], None]
    ):
        """Prepare to save. ``began`` is when the run started or resumed, by time.monotonic()."""
        self.folder, self.params, self.began, self.say = folder, params, began, say
        self.interval = params.checkpoint_interval
        self.best_saved: float | None = None
        self.versions = numerics.facts()
        self.changed: tuple[tuple[int, str, Any], ...] | None = ()
        self._folder_name, self._place = folder.name, folder.name.absolute()
        self._kept = params.checkpoints_kept, params.checkpoints_always_kept
        self._saving = threading.RLock()
        self._latest: Checkpoint | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def state(self) -> RunState:
        return RunState(
            best_saved=self.best_saved,
            seconds=self.seconds,
            params=self.params.model_dump(),
            versions=self.versions,
            changed=self.changed,
        )

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint, with its clock, and with its best score unless evaluations
        have been turned on or off: scores of evaluations and of training games do not compare.
        """
        run = run_of(saved)
        self.began -= run.seconds
        self.changed = run.changed
        if bool(run.params.get("evaluation_interval")) == bool(self.params.evaluation_interval):
            self.best_saved = run.best_saved

    def note_changes(self, step: int, changes: Changes) -> None:
        """Note the settings that a resume changes, unless earlier changes are not known."""
        if self.changed is not None:
            self.changed += tuple((step, key, before) for key, (before, _) in changes.items())

    def check_folder(self) -> None:
        """Report if the folder has been moved. Raises FolderGone if it no longer exists."""
        before, now = self._folder_name, self.folder.name
        if self.folder.is_gone:
            raise FolderGone(now)
        # An environment may have changed the current folder.
        if now != before and not (self._place.exists() and self._place.samefile(now)):
            self._folder_name, self._place = now, now.absolute()
            self.say(f"{before} was moved; the run continues in {now}")

    def remember(self, state: Checkpoint) -> None:
        """Remember this state; it is saved if the process must end before the next save."""
        self._latest = state

    def save(self, state: Checkpoint, score: float | None = None) -> None:
        """Write a checkpoint, also as the best if the policy's score is the highest so far. Without
        evaluations, any newer score replaces the best until 100 games have ended.
        """
        best = score is not None and (self.best_saved is None or score > self.best_saved)
        if best:
            if self.params.evaluation_interval or state.trainer.tally.has_enough:
                self.best_saved = score
            state = state.with_part(self.name, self.state())
        with self._saving:
            checkpoint.save(self.folder, state, *self._kept, best)
            self._latest = None
        self.due = False

    def save_batch(self, error: Diverged) -> None:
        """Write the batch that led to non-finite numbers, if possible."""
        path = self.folder.path / f"diverged-{error.step:012d}.npz"
        try:
            write_whole(path, npz.pack(error.batch))
        except OSError as fault:
            self.say(f"the batch could not be stored: {fault}")
        else:
            self.say(f"the batch is in {path}")

    def save_latest(self) -> None:
        """Write the latest state, unless it is already saved."""
        with self._saving:
            if self._latest:
                checkpoint.save(self.folder, self._latest, *self._kept)

    def last_resort(self) -> tuple[ExitCode, str]:
        """Save the latest state, whatever the main thread is doing. Return the exit code and a
        message. Waits at most LOCK_SECONDS for a save in progress.
        """
        if not self._saving.acquire(timeout=LOCK_SECONDS):
            message = "stopped, but the disk does not answer: resume from the newest checkpoint"
            return ExitCode.FAILED, message
        try:
            self.save_latest()
        except BaseException as error:
            return ExitCode.FAILED, f"stopped, but the last steps could not be saved: {error}"
        message = "stopped: the unfinished work was discarded; everything before it is saved"
        return ExitCode.STOPPED, message

    def prune(self, step: int) -> None:
        """Remove old checkpoints, up to ``step``, that a killed process left."""
        checkpoint.prune(self.folder, step, *self._kept)
