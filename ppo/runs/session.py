"""A run in the first of its workers: how it starts or resumes, and how it ends."""

import os

from ppo.checkpoint import Checkpoint, NewerVersionError, set_aside_later_best
from ppo.envs import screens
from ppo.envs.factories import is_factory
from ppo.envs.foreign import closing
from ppo.errors import EnvironmentFailed, Stopped, WorkerLost
from ppo.files import evaluations
from ppo.files.atomic import write_whole
from ppo.files.folder import RunFolder
from ppo.replay.recorder import FinishedVideo, Recorder
from ppo.runs import ending
from ppo.runs.ending import Result
from ppo.runs.guard import Guard
from ppo.runs.keeper import Keeper
from ppo.runs.loop import Loop
from ppo.runs.observers import Callback, CallbackObserver, Evaluator, Logger
from ppo.runs.start import Start, overrides_to_continue, run_of
from ppo.runs.terminal import Display, Pace
from ppo.runs.tracker import Tracker
from ppo.runs.trainer_state import restore
from ppo.runs.verifier import Verifier
from ppo.runs.videographer import TAG, Videographer
from ppo.settings import ResolvedParams
from ppo.settings.describe import as_given
from ppo.settings.schedules import next_crossing
from ppo.system.device import gpu_remark, precision_remark
from ppo.system.signals import Interrupted, StopRequest
from ppo.system.streams import counted
from ppo.trainer import Trainer
from ppo.workers.interface import Workers
from ppo.workers.local import LocalWorkers

NOTHING_DONE = "stopped before anything was done"
CLIPPED = (
    "the game has rewards other than -1, 0 and 1: training uses their signs only (clip_rewards)"
)


class Session:
    """A run from its start in this process to its end."""

    def __init__(
        self,
        params: ResolvedParams,
        folder: RunFolder,
        stop: StopRequest,
        began: float,
        workers: Workers,
        start: Start,
        callback: Callback | None,
    ):
        self.params, self.folder, self.stop, self.start = params, folder, stop, start
        started = isinstance(workers, LocalWorkers)
        # The arguments that resume the run as it was started.
        self.resume = "--resume" + f" --workers={params.workers}" * started
        self._unstored = [f"{key}={as_given(now)}" for key, (_, now) in start.unstored.items()]
        end = params.end_from(start.step)
        self.display = Display(f"PPO · {params.env_id} · {folder.name}", end)
        say = self.display.say
        self.keeper = Keeper(folder, params, began, say)
        stop.last_resort = self._leave
        try:
            self.trainer = Trainer(params, workers, stop)
        except (Interrupted, WorkerLost) as error:
            stopped = Stopped(self._with_command(NOTHING_DONE))
            raise stopped if isinstance(error, Interrupted) or stop() else error from None
        self.trainer.collector.when_clipped = lambda: say(CLIPPED)
        policy = self.trainer.policy
        # silent once the folder is gone; the run reports that
        self.recorder = Recorder(say, lambda: stop() or folder.is_gone)
        self.tracker = Tracker(params, folder, say)
        pace, clock = Pace(params), lambda: self.keeper.seconds
        self.logger = Logger(self.trainer, folder, self.display, pace, clock, self.tracker.scalars)
        evaluator = Evaluator(policy, params, folder, pace, say, self.logger.include)
        self.videographer = Videographer(
            params, policy.choice, folder, self.recorder, say, self._publish
        )
        self.guard = Guard(self.trainer, params, say)
        self.callback = CallbackObserver(self.trainer, callback, stop)
        # The logger writes what the evaluator adds. The callback sees what the guard rolls back.
        self.observers = [  # in the order in which they see and act
            self.videographer,
            evaluator,
            Verifier(params, self.trainer.envs, say),
            self.logger,
            self.tracker,
            self.guard,
            self.keeper,
            self.callback,
        ]
        self.loop = Loop(self.trainer, self.observers, self.keeper, evaluator, self.callback.stops)

    @property
    def result(self) -> Result:
        return Result.from_totals(self.trainer.step, self.trainer.totals(), self.folder.name)

    def go(self) -> None:
        """Train to the end or a stop. Raises as ``train.run``."""
        with closing(self.trainer), closing(self.recorder):
            if saved := self.start.checkpoint:
                self._restore(saved)
                self.keeper.prune(saved.step)
                if self.loop.done:
                    self.videographer.logged_until = saved.step  # its log gets nothing more
                    self.videographer.record_missing(saved.step)
                    self._finish_videos()
                    self._conclude("the run is done", run_of(saved).seconds)
                    return
            self._begin()
            trained = self._train()
            if self.callback.error:
                raise self.callback.error
            if not trained:
                message = f"stopped at step {self.trainer.step:,}; everything is saved"
                if self.stop() or not self.callback.ends:
                    raise Stopped(self._with_command(message))
                self.display.say(message)
                return
        self._conclude("done", self.keeper.seconds)

    def _publish(self, made: FinishedVideo) -> None:
        self.logger.log.image(made.step, TAG, made.gif)
        self.tracker.video(made)

    def _conclude(self, outcome: str, seconds: float) -> None:
        trainer, folder, env_id = self.trainer, self.folder.name, self.params.env_id
        best = evaluations.best(self.folder, trainer.params, trainer.policy.choice, trainer.step)
        again = overrides_to_continue(trainer.step, trainer.tally, self.params)
        shown = not is_factory(env_id) and not screens.fault(trainer.envs.rules)
        more = ending.next_steps(folder, env_id, self.resume, again, shown)
        resumed = bool(self.start.checkpoint)
        self.display.say(f"{outcome}, at step {trainer.step:,}")
        self.display.say(ending.summary(folder, trainer.totals(), best, seconds, more, resumed))

    def _with_command(self, message: str) -> str:
        env_id, changes = self.params.env_id, self._unstored
        steps = ending.next_steps(self.folder.name, env_id, self.resume, changes)
        return f"{message}\n  continue  {steps['continue']}"

    def _restore(self, checkpoint: Checkpoint) -> None:
        if unknown := checkpoint.parts.keys() - {observer.name for observer in self.observers}:
            raise NewerVersionError(
                f"the checkpoint of step {checkpoint.step:,} was made by a newer version: it has "
                f"the state of {', '.join(sorted(unknown))}. Use that version; nothing was changed"
            )
        for observer in self.observers:
            observer.restore(checkpoint)
        start = self.start
        if not start.fork_of:
            self.keeper.note_changes(checkpoint.step, start.changes)
        try:
            mismatch = restore(
                self.trainer, checkpoint, self.stop, start.continued, start.new_games
            )
            self.guard.measure(self.stop)
        except Interrupted:
            raise Stopped(self._with_command(NOTHING_DONE)) from None
        if mismatch:
            self.display.say(f"{mismatch}: new games begin in their place")

    def _begin(self) -> None:
        """Report what starts. Store changed settings, and the first checkpoint if there is none."""
        params, step = self.params, self.trainer.step
        if self.start.fork_of:
            self.display.say(f"fork of {self.start.fork_of} at step {step:,}")
        elif self.start.checkpoint:
            self.display.say(f"resuming from step {step:,}")
        else:
            threads = counted(params.threads, "thread")
            shared = f", {params.workers} workers" if params.workers > 1 else ""
            rounded = f", in {params.precision}" if params.precision != "float32" else ""
            self.display.say(
                f"{params.env_id} with seed {params.seed} and {threads}{shared}{rounded}"
            )
        differences = self.start.differences(self.keeper.versions, self.trainer.schedules_at(step))
        remarks = [*differences, precision_remark(params.precision), gpu_remark()]
        for remark in filter(None, remarks):
            self.display.say(remark)
        if self._unstored:
            write_whole(self.folder.params, params.to_json().encode())
            self._unstored = []
        if not self.start.checkpoint or self.start.fork_of:
            self.keeper.save(self.loop.state)
        elif set_aside_later_best(self.folder, step):
            self.keeper.best_saved = None  # the next score gives a new best checkpoint
        self.folder.fork_start.unlink(missing_ok=True)
        if not self.trainer.finished:
            entry = next_crossing(params.log_interval, step, params.steps_per_iteration)
            first = min(entry, params.end_from(step))
            self.display.say(f"training begins; its first numbers come by step {first:,}")

    def _train(self) -> bool:
        """Train. Return whether the run was completed."""
        videographer, step = self.videographer, self.trainer.step
        self.tracker.open()
        self.logger.open(bool(self.start.changes))
        try:
            videographer.cut(step)
            videographer.record_missing(step)
            if not step:
                videographer.begin(self.trainer.policy, self.stop)
            self.guard.begin()
            with self.display:
                self.loop.run()
            if self.loop.done:
                self._finish_videos()
            return self.loop.done
        except WorkerLost:
            if not self.stop():  # a stop reaches all workers: the other one ended first
                raise
            return False
        except EnvironmentFailed as error:
            error.add_note(f"Step {self.trainer.step:,} is saved. Continue with --resume.")
            raise
        finally:
            self.logger.log.close()
            self.tracker.close()

    def _finish_videos(self) -> None:
        self.recorder.wait()
        self.videographer.announce()

    def _leave(self) -> None:
        """End the process from another thread while the main thread takes too long."""
        code, message = self.keeper.last_resort()
        self.display.end(self._with_command(message))
        os._exit(code)
