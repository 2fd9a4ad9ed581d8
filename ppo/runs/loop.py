"""The loop of a run: iterations, their observers, and when to save."""

from collections.abc import Callable

from ppo.checkpoint import Checkpoint, Due
from ppo.errors import Collapsed, Diverged, EnvironmentFailed, NotFinite, WorkerLost
from ppo.files import npz
from ppo.files.folder import FolderGone, write_whole
from ppo.process.signals import Interrupted
from ppo.runs.announcer import Announcer
from ppo.runs.guard import Guard
from ppo.runs.keeper import Keeper
from ppo.runs.observers import Evaluator, Logger, Videographer
from ppo.runs.verifier import Verifier
from ppo.trainer import Trainer


class Loop:
    """Trains until the run is finished or asked to stop."""

    def __init__(
        self,
        trainer: Trainer,
        keeper: Keeper,
        logger: Logger,
        evaluator: Evaluator,
        videographer: Videographer,
        announcer: Announcer,
        verifier: Verifier,
        guard: Guard,
        stop: Callable[[], bool],
    ):
        self.trainer, self.keeper, self.stop = trainer, keeper, stop
        self.logger, self.evaluator = logger, evaluator
        self.videographer, self.announcer = videographer, announcer
        self.verifier, self.guard = verifier, guard
        self._inexact = False  # whether an episode that began with a seed did not replay
        self._folder_name = keeper.folder.name

    @property
    def done(self) -> bool:
        """Whether nothing remains to do, not even an evaluation that was interrupted."""
        return self.trainer.finished and not (self.logger.due or self.evaluator.due)

    def run(self) -> None:
        """Train until the end or a stop; the state is then saved. Raises Collapsed, Diverged,
        whose batch is saved if possible, and WorkerLost or EnvironmentFailed, when the last
        iteration's state is.
        """
        try:
            self._run()
        except Collapsed:
            self._save()
            raise
        except (WorkerLost, EnvironmentFailed):
            self.logger.log.sync()
            self.keeper.save_reached()
            raise
        except Diverged as error:
            self._keep_batch(error)
            raise

    def _keep_batch(self, error: Diverged) -> None:
        path = self.keeper.folder.path / f"diverged-{error.step:012d}.npz"
        try:
            write_whole(path, npz.pack(error.batch))
        except OSError as fault:
            self.logger.display.say(f"the batch could not be stored: {fault}")
        else:
            self.logger.display.say(f"the batch is in {path}")

    def _run(self) -> None:
        self._finish_evaluation()
        self.guard.begin()
        for iteration in self.trainer.iterations(self.stop):
            for observer in (self.logger, self.videographer, self.evaluator, self.verifier):
                observer.see(iteration)
            self.guard.see(iteration)
            self.announcer.announce()
            self.logger.due |= self.trainer.finished
            evaluating = self.evaluator.due
            self._report()
            if evaluating or iteration.crossed(self.trainer.params.checkpoint_interval):
                self._save()
            else:
                self.keeper.reached(self._state())
        self._save(scored=self.trainer.finished)  # a stop selects no policy

    def _finish_evaluation(self) -> None:
        """Make the evaluation and log entry that a stop interrupted, and save as without it."""
        evaluating = self.evaluator.due
        self._report()
        if evaluating and not self.evaluator.due:
            self._save()

    def _report(self) -> None:
        """Evaluate and log, if due. An evaluation that is interrupted by a request to stop stays
        due, and so does the log entry.
        """
        step, evaluating = self.trainer.step, self.evaluator.due
        if evaluating:
            self.keeper.reached(self._state())  # with the evaluation still due
            try:
                self.logger.means.add(self.evaluator.evaluate(step, self.stop))
            except Interrupted:
                return
            except NotFinite as error:
                raise Diverged(step, {"observations": error.observations}) from error
        if self.logger.due or evaluating:
            self._find_folder()
            elapsed = {"time/time_elapsed": self.keeper.seconds}
            self.logger.write(step, self.trainer.totals() | elapsed)

    def _save(self, scored: bool = True) -> None:
        self._await_check()
        self._find_folder()
        self.logger.log.sync()
        self.keeper.save(self._state(), self._score() if scored else None)

    def _await_check(self) -> None:
        """Have every episode seeded once one did not replay as it was played. Each of two messages
        is printed once.
        """
        mismatch = self.verifier.mismatch(self.stop)
        if not mismatch:
            return
        envs = self.trainer.envs
        differs = f"an episode of {envs.rules.game} does not go the same way twice ({mismatch})"
        if not envs.seeds_every_episode:
            envs.seed_every_episode()
            self.logger.display.say(
                f"{differs}: from here on every episode begins with a seed. Replays of episodes "
                "before this may not hold; please report the game"
            )
        elif self.verifier.was_seeded and not self._inexact:
            self._inexact = True
            self.logger.display.say(
                f"{differs}, though it began with a seed: replays and resumes of this run may not "
                "be exact"
            )

    def _find_folder(self) -> None:
        """Say so if the folder has been moved. Raises FolderGone if it is no longer there."""
        folder, before = self.keeper.folder, self._folder_name
        if folder.is_gone:
            raise FolderGone(folder.name)
        if folder.name != before:
            self._folder_name = folder.name
            self.logger.display.say(f"{before} was moved; the run continues in {folder.name}")

    def _score(self) -> float | None:
        """The score that selects the best policy: that of its evaluation if the run makes any,
        otherwise the mean of the last 100 games, or of those that there are.
        """
        if self.trainer.params.evaluation_interval:
            return self.evaluator.score_at(self.trainer.step)
        return self.trainer.totals().get("rollout/ep_rew_mean")

    def _state(self) -> Checkpoint:
        due = Due(
            log=self.logger.due,
            evaluation=self.evaluator.due,
            video=self.videographer.due,
            replay_check=self.verifier.due,
        )
        sizes = self.logger.log.sizes()
        return self.keeper.state(
            self.trainer, self.guard, self.logger.means, due, sizes, self.announcer.pictured
        )
