"""A run in its first or only process: how it starts or resumes, and how it ends."""

import os

from ppo.checkpoint import Checkpoint
from ppo.distribution import Workers
from ppo.envs import screens
from ppo.envs.foreign import closing
from ppo.errors import EnvironmentFailed, Stopped, WorkerLost
from ppo.files import evaluations, scalars
from ppo.files.folder import RunFolder, write_whole
from ppo.files.log import Log, RunningMeans, cut
from ppo.play.recorder import Recorder
from ppo.process.numerics import differences
from ppo.process.signals import Interrupted, StopRequest
from ppo.resolve import gpu_remark, precision_remark
from ppo.runs import ending
from ppo.runs.announcer import Announcer
from ppo.runs.follower import is_done, restore
from ppo.runs.guard import Guard
from ppo.runs.keeper import Keeper
from ppo.runs.loop import Loop
from ppo.runs.observers import Evaluator, Logger, Videographer
from ppo.runs.start import Start, longer
from ppo.runs.terminal import Display
from ppo.runs.verifier import Verifier
from ppo.settings import ResolvedParams
from ppo.trainer import Trainer

NOTHING_DONE = "stopped before anything was done; --resume goes on"


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
    ):
        self.params, self.folder, self.stop = params, folder, stop
        self.start, self.facts = start, start.facts
        self.display = Display(f"PPO · {params.env_id} · {folder.name}", params.whole_steps)
        self.keeper = Keeper(folder, params, began - self.facts.seconds, self.facts.best_saved)
        stop.last_resort = self._leave
        try:
            self.trainer = Trainer(params, workers, stop)
        except Interrupted:
            raise Stopped(NOTHING_DONE) from None
        self.trainer.collector.when_clipped = self._say_clipping
        self.guard = Guard(self.trainer, params, self.display.say)

    def go(self) -> None:
        """Train until the run is finished or asked to stop. Raises Stopped, Diverged, Collapsed,
        EnvironmentFailed and WorkerLost.
        """
        with closing(self.trainer):
            if self.start.checkpoint:
                self._restore(self.start.checkpoint)
                self.keeper.prune(self.start.checkpoint.step)
            done = is_done(self.trainer, self.facts.due)
            if done and self.start.fork_of:
                self._begin()  # so that there is something to resume with more steps
            if done:
                self._finish_videos()
                self._conclude("the run is done", self.facts.seconds)
                return
            self._begin()
            if not self._trained():
                raise Stopped(f"stopped at step {self.trainer.step:,}; everything is saved")
        self._conclude("done", self.keeper.seconds)

    def _trained(self) -> bool:
        """Train; returns whether the run was completed."""
        try:
            return self._train()
        except WorkerLost:
            if not self.stop():  # else it has ended sooner
                raise
            return False
        except EnvironmentFailed as error:
            error.add_note(f"Step {self.trainer.step:,} is saved. Continue with --resume.")
            raise

    def _conclude(self, word: str, seconds: float) -> None:
        trainer = self.trainer
        best = evaluations.best(self.folder, trainer.policy.choice, trainer.step)
        watchable = not screens.fault(trainer.envs.rules)
        self.display.say(f"{word}, at step {trainer.step:,}")
        more = longer(trainer.step, self.params)
        told = ending.block(self.folder.name, trainer.totals(), best, seconds, watchable, more)
        self.display.say(told)

    def _restore(self, checkpoint: Checkpoint) -> None:
        start = self.start
        how = start.same_rules, start.new_games
        try:
            mismatch = restore(self.trainer, self.guard, checkpoint, *how, self.stop)
        except Interrupted:
            raise Stopped(NOTHING_DONE) from None
        if mismatch:
            self.display.say(f"{mismatch}: new games begin in their place")

    def _begin(self) -> None:
        """Report what starts, and bring the files to the state of its first step."""
        params, step = self.params, self.trainer.step
        if self.start.fork_of:
            self.display.say(f"fork of {self.start.fork_of} at step {step:,}")
        elif self.start.checkpoint:
            self.display.say(f"resuming from step {step:,}")
        else:
            threads = f"{params.threads} thread{'s' * (params.threads > 1)}"
            shared = f", {params.workers} workers" if params.workers > 1 else ""
            rounded = f", in {params.precision}" if params.precision != "float32" else ""
            said = f"{params.env_id} with seed {params.seed} and {threads}{shared}{rounded}"
            self.display.say(said)
        if self.start.checkpoint:
            self._say_versions()
            self._say_changes()
        for remark in filter(None, (precision_remark(params), gpu_remark())):
            self.display.say(remark)
        if self.start.changes and not self.start.fork_of:
            write_whole(self.folder.params, params.to_json().encode())
        if self.start.checkpoint and not self.start.fork_of:
            cut(self.folder.path, self.facts.log)
        else:
            means = RunningMeans(self.facts.means)
            self.keeper.save(self.keeper.state(self.trainer, self.guard, means, self.facts.due, {}))

    def _say_clipping(self) -> None:
        self.display.say(
            "the game has rewards other than -1, 0 and 1: training uses their signs only "
            "(clip_rewards)"
        )

    def _say_versions(self) -> None:
        for name, old, new in differences(self.facts.versions, self.keeper.versions):
            self.display.say(
                f"{name} was {old} and is {new}: the run's bits may differ from an uninterrupted "
                "run's"
            )

    def _say_changes(self) -> None:
        for key, (old, new) in self.start.changes.items():
            self.display.say(f"{key}: {old!r} before, now {new!r}")
        if not (self.start.changes and self.facts.schedules):
            return
        now = self.trainer.scheduled_at(self.trainer.step)
        for name, old, new in zip(
            ("learning rate", "clip range"), self.facts.schedules, now, strict=True
        ):
            self.display.say(f"{name}: {old:.3g} before, now {new:.3g}")

    def _train(self) -> bool:
        """Returns whether the run was completed."""
        log, recorder = self._open_log(), self._recorder()
        videographer = self._videographer(recorder)
        videographer.due = self.facts.due.video
        pictured = self._pictured()
        try:
            videographer.cut(self.trainer.step)
            videographer.record_missing(self.display.say, self.trainer.step, pictured)
            if not self.trainer.step:
                videographer.begin(self.trainer.policy, self.stop)
            announcer = Announcer(recorder, log, self.display.say, pictured)
            loop = self._loop(log, videographer, announcer)
            with self.display:
                loop.run()
            if loop.done:
                recorder.wait()
                loop.announcer.announce()
        finally:
            recorder.close(abandon=True)
            log.close()
        return loop.done

    def _finish_videos(self) -> None:
        """Make the videos that a stop of the finished run left out."""
        recorder = self._recorder()
        videographer = self._videographer(recorder)
        try:
            videographer.record_missing(self.display.say, self.trainer.step)
            recorder.wait()
            for made in recorder.made():
                self.display.say(made.told)
        finally:
            recorder.close(abandon=True)

    def _recorder(self) -> Recorder:
        """A recorder that leaves it to the run to say that the folder is gone."""
        return Recorder(self.display.say, lambda: self.stop() or self.folder.is_gone)

    def _videographer(self, recorder: Recorder) -> Videographer:
        return Videographer(self.params, self.trainer.policy.choice, self.folder, recorder)

    def _pictured(self) -> int:
        """The step of the newest video that the log shows."""
        # Of a run that began before its log showed videos, those made so far stay as they are.
        pictured = self.facts.pictured
        return self.trainer.step - 1 if pictured is None else pictured

    def _open_log(self) -> Log:
        trainer = self.trainer
        epochs = self.params.num_epochs if self.params.log_epochs else 0
        tags = scalars.tags(epochs, trainer.layers, trainer.envs.action_names)
        log = Log(self.folder.path, tags, trainer.step + 1)
        if log.left_out:
            self.display.say(
                f"progress.csv keeps the columns that it began with, without {len(log.left_out)} "
                f"new scalars such as {log.left_out[0]}"
            )
        if self.start.changes or not self.facts.log:
            log.settings(trainer.step, dict(self.params))
        return log

    def _loop(self, log: Log, videographer: Videographer, announcer: Announcer) -> Loop:
        """The loop with its observers, which resume what was due when the run was last saved."""
        params, trainer, facts = self.params, self.trainer, self.facts
        logger = Logger(log, self.display, params.log_interval, trainer.step)
        known = {tag: sum_ for tag, sum_ in facts.means.items() if tag in log.tags}
        logger.means, logger.due = RunningMeans(known), facts.due.log
        evaluator = Evaluator(trainer.policy, params, self.folder, self.display.say)
        evaluator.due = facts.due.evaluation
        verifier = Verifier(params)
        verifier.due = facts.due.replay_check
        return Loop(
            trainer,
            self.keeper,
            logger,
            evaluator,
            videographer,
            announcer,
            verifier,
            self.guard,
            self.stop,
        )

    def _leave(self) -> None:
        """End the process, from another thread, while the main thread takes too long."""
        code, message = self.keeper.last_resort()
        self.display.end(message)
        os._exit(code)
