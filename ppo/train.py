"""A training run: the learner, and around it the log, checkpoints, videos and evaluations."""

import io
import os
import resource
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace as changed
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ppo import checkpoint, replay
from ppo.evaluate import evaluate, store
from ppo.folder import RunFolder, check_new, check_run, owned, write_whole
from ppo.games import Rules
from ppo.games import check as check_games
from ppo.learner import Diverged, Iteration, Learner, crossed
from ppo.metrics import Log, Means, cut
from ppo.params import GameSettings, NetworkSettings, Params, ParamsError, load
from ppo.recorder import Recorder
from ppo.signals import NOT_SAVED, SAVED, Interrupted, StopRequest
from ppo.startup import default_threads
from ppo.terminal import Display

__all__ = ["Diverged", "Stopped", "resume", "run"]

# What a run's games, network, storage and bits depend on.
FIXED_ON_RESUME = frozenset(
    [
        *GameSettings.model_fields,
        *NetworkSettings.model_fields,
        *("num_steps", "num_epochs", "seed", "threads"),
    ]
)


# A run's bits depend on these; a checkpoint says which ones made it.
VERSIONS = ("tensorflow", "keras", "numpy", "ale-py", "gymnasium")


class Stopped(Exception):
    """The run was asked to stop; everything was saved."""


def resolved(params: Params) -> Params:
    """The settings with the seed drawn, the threads chosen, and what the game's id stands for."""
    seed = secrets.randbelow(2**31) if params.seed is None else params.seed
    return params.model_copy(
        update={
            "seed": seed,
            "threads": params.threads or default_threads(),
            "sticky_action_probability": Rules.of(params).sticky_action_probability,
        }
    )


def run(params: Params, logdir: str | Path, began: float | None = None) -> None:
    """Train from the beginning, in a new or empty folder. The run's clock started at ``began``,
    a reading of time.monotonic(), or now.

    Raises FolderError (nothing was created), Stopped (all saved), Diverged, or OSError.
    """
    logdir, began = Path(logdir), began or time.monotonic()
    check_new(logdir)
    params = resolved(params)
    with StopRequest() as stop, owned(logdir) as folder:
        write_whole(folder.params, params.to_json().encode())
        _Run(params, folder, stop, began).go()


def resume(logdir: str | Path, overrides: Sequence[str] = (), began: float | None = None) -> None:
    """Go on from the newest sound checkpoint of a run, or say that it is done.

    ``overrides`` may change what the games, the network and the storage do not depend on.
    Raises ParamsError, FolderError (nothing was changed), CheckpointError, and as ``run``.
    """
    logdir, began = Path(logdir), began or time.monotonic()
    check_run(logdir)
    before = load(RunFolder(logdir).params, checks=[check_games])
    params = load(RunFolder(logdir).params, overrides, [check_games])
    changes = _changes(dict(before), params)
    with StopRequest() as stop, owned(logdir) as folder:
        newest = _newest(folder)
        if newest:  # params.json may have been edited by hand
            with _told_in_one_line(newest):
                changes = _changes(newest.facts["params"], params)
        _Run(params, folder, stop, began, newest, changes).go()


def _changes(before: dict[str, object], params: Params) -> dict[str, tuple[object, object]]:
    """The settings that differ, with both values. Raises ParamsError for those that may not."""
    changes = {key: (before[key], new) for key, new in params if new != before[key]}
    refused = [
        f"{key} = {new!r}: this run began with {old!r}, which a resume cannot change; "
        "start a new run for it"
        for key, (old, new) in changes.items()
        if key in FIXED_ON_RESUME
    ]
    if refused:
        raise ParamsError(refused)
    return changes


def _newest(folder: RunFolder) -> checkpoint.Checkpoint | None:
    """The newest sound checkpoint; None for a run that was ended before it saved anything."""
    if not folder.progress.exists() and not any(folder.checkpoints.glob("*.ckpt")):
        return None
    return checkpoint.newest(folder, warn=print)


@contextmanager
def _told_in_one_line(start: checkpoint.Checkpoint) -> Iterator[None]:
    """MisfitError for a checkpoint that is sound, but holds something else than a run's state."""
    try:
        yield
    except ParamsError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise checkpoint.MisfitError(
            f"the checkpoint of step {start.step} does not hold a run's state "
            f"({type(error).__name__}: {error}); nothing was changed"
        ) from error


class _Run:
    """One process' share of a run: everything beside the learning itself."""

    def __init__(
        self,
        params: Params,
        folder: RunFolder,
        stop: StopRequest,
        began: float,
        start: checkpoint.Checkpoint | None = None,
        changes: dict[str, tuple[object, object]] | None = None,
    ):
        self.params, self.folder, self.stop = params, folder, stop
        self.start, self.changes = start, changes or {}
        self.began = began  # less what earlier starts took
        self.learner = Learner(params)
        self.means = Means()
        self.log_due = self.evaluation_due = self.video_due = False
        self.evaluated: tuple[int, float] | None = None  # step and mean score
        self.best_saved: float | None = None
        # Whoever holds the lock may write files; while it is free, _reached is what they stand for.
        self._files = threading.Lock()
        self._reached: checkpoint.Checkpoint | None = None
        self.versions = {name: version(name) for name in VERSIONS}
        self.display = Display(f"PPO · {params.env_id} · {folder.path}", params.whole_steps)
        stop.last_resort = self._leave
        if start:
            self._restore(start)

    def go(self) -> None:
        """Train until the run is finished or asked to stop."""
        try:
            if self._done:
                self.display.say(f"the run is done, at step {self.learner.step:,}")
                return
            self._begin()
            self._train()
        finally:
            self.learner.close()
        if not self._done:
            raise Stopped(f"stopped at step {self.learner.step:,}; everything is saved")
        self.display.say(f"done, at step {self.learner.step:,}")

    @property
    def _done(self) -> bool:
        """Whether nothing remains to do, not even an evaluation that was broken off."""
        return self.learner.finished and not (self.log_due or self.evaluation_due)

    def _restore(self, start: checkpoint.Checkpoint) -> None:
        facts = start.facts
        try:
            with _told_in_one_line(start):
                self.learner.restore(start, self.stop)
                self.means = Means(facts["means"])
                self.log_due, self.evaluation_due, self.video_due = facts["due"]
                self.best_saved = facts["best_saved"]
                self.began -= facts["seconds"]
        except Interrupted:
            raise Stopped("stopped before anything was done; nothing was changed") from None

    def _begin(self) -> None:
        """Say what begins, bring the files to where it begins, and open them."""
        params, step = self.params, self.learner.step
        if self.changes:
            write_whole(self.folder.params, params.to_json().encode())
        if self.start:
            self.display.say(f"going on from step {step:,}")
            self._say_versions(self.start.facts["versions"])
            self._say_changes(self.start.facts["schedules"])
            cut(self.folder.path, self.start.facts["log"])
        else:
            self.display.say(
                f"{params.env_id} with seed {params.seed} and {params.threads} threads"
            )
            self._save({})
        self.tags = self.learner.tags
        self.log = Log(self.folder.path, self.tags, step + 1)
        if self.changes or not (self.start and self.start.facts["log"]):
            self.log.text(step, "params", _as_table(params))

    def _say_versions(self, before: dict[str, str]) -> None:
        for name, old in before.items():
            if self.versions[name] != old:
                self.display.say(
                    f"{name} was {old} and is {self.versions[name]}: the run goes on, but not bit "
                    "for bit as it would have"
                )

    def _say_changes(self, schedules_before: list[float]) -> None:
        for key, (old, new) in self.changes.items():
            self.display.say(f"{key}: {old!r} before, now {new!r}")
        if not self.changes:
            return
        now = self.learner.scheduled_at(self.learner.step)
        for name, old, new in zip(
            ("learning rate", "clip range"), schedules_before, now, strict=True
        ):
            self.display.say(f"{name}: {old:.3g} before, now {new:.3g}")

    def _train(self) -> None:
        self.recorder = Recorder(self.display.say)
        try:
            self._record_missing()
            with self.display:
                self._loop()
            if self._done:
                self.recorder.wait(self.stop)
        finally:
            self.recorder.close(abandon=True)
            with self._files:
                self._reached = None
                self.log.close()

    def _record_missing(self) -> None:
        """Begin with the videos that were given up when the run was stopped."""
        if not self.learner.rules.is_atari:
            return
        for path in sorted(self.folder.replays.glob("step-*.json")):
            movie = self.folder.videos / f"{path.stem}.mp4"
            if not movie.exists():
                try:
                    self.recorder.record(replay.load(path), movie)
                except replay.ReplayError as error:
                    self.display.say(str(error))

    def _loop(self) -> None:
        before, self._last_point = self.learner.step, (self.learner.step, time.perf_counter())
        with self._files:
            self._write_point(before)  # of an evaluation that was broken off, if there was one
        for iteration in self._iterations():
            with self._files:
                self._after(iteration, before)
                self._reached = self._state()
            before = iteration.step
        with self._files:
            self._save(self.log.sizes())
            self._reached = None

    def _after(self, iteration: Iteration, before: int) -> None:
        """Count, record, evaluate, log and save what an iteration that began at a step brought."""
        self.means.add(iteration.scalars)
        self._video(iteration, before)
        self.evaluation_due |= self._crossed("evaluation_interval", before, iteration.step)
        self.log_due |= self._crossed("log_interval", before, iteration.step)
        self.log_due |= self.learner.finished
        evaluating = self.evaluation_due
        self._write_point(iteration.step)
        if evaluating or self._crossed("checkpoint_interval", before, iteration.step):
            self._save(self.log.sizes())

    def _leave(self) -> None:
        """End the process, from another thread, in the middle of something that takes too long; the
        state of the last iteration's end is saved.
        """
        code, said = SAVED, "stopped; what was under way was given up, all before it is saved"
        try:
            self._files.acquire()
            if self._reached:
                self._store(self._reached, self.log.sizes())
        except BaseException as error:
            code, said = NOT_SAVED, f"stopped, but the last steps could not be saved: {error}"
        finally:
            self.display.__exit__()
            self.display.say(said)
            os._exit(code)

    def _crossed(self, interval: str, before: int, after: int) -> bool:
        return crossed(getattr(self.params, interval), before, after)

    def _iterations(self) -> Iterator[Iteration]:
        """The learner's, writing down the batch of one that diverges."""
        try:
            yield from self.learner.iterations(self.stop)
        except Diverged as error:
            content = io.BytesIO()
            np.savez(content, **error.batch)  # type: ignore[arg-type]
            name = f"diverged-{error.step:012d}.npz"
            write_whole(self.folder.path / name, content.getvalue())
            self.display.say(f"the batch is in {self.folder.path / name}")
            raise

    def _write_point(self, step: int) -> None:
        """Evaluate and log, as far as they are due. An evaluation that is broken off by a request
        to stop stays due, and with it the point of the log.
        """
        try:
            if self.evaluation_due:
                self._evaluate(step)
        except Interrupted:
            return
        if self.log_due or self.evaluation_due:
            self._log(step)
        self.log_due = self.evaluation_due = False

    def _log(self, step: int) -> None:
        last_step, last_time = self._last_point
        now = time.perf_counter()
        self._last_point = step, now
        scalars = self.means.take() | self.learner.totals()
        scalars["time/fps"] = (step - last_step) / (now - last_time)
        scalars["time/time_elapsed"] = time.monotonic() - self.began
        scalars["system/rss_mb"] = _resident_mib()
        self.log.write(step, {tag: scalars[tag] for tag in self.tags if tag in scalars})
        self.display.show(step, scalars)

    def _evaluate(self, step: int) -> None:
        self._reached = self._state()  # with the evaluation still due
        with _released(self._files):
            evaluation = evaluate(
                self.learner.act, self.params, self.params.evaluation_games, step, self.stop
            )
        store(self.folder, evaluation, self.params, step)
        self.evaluated = (step, evaluation.mean)
        self.means.add(
            {"eval/mean_reward": evaluation.mean, "eval/mean_ep_length": evaluation.mean_steps}
        )

    def _video(self, iteration: Iteration, step_before: int) -> None:
        """Record the first game that ends at or after each multiple of the interval."""
        self.video_due |= self._crossed("video_interval", step_before, iteration.step)
        if not (self.video_due and iteration.games):
            return
        self.video_due = False
        name = f"step-{iteration.step:012d}"
        game = replay.Replay.of(
            iteration.games[0], self.learner.rules, step=iteration.step, policy="sampled"
        )
        self.folder.replays.mkdir(exist_ok=True)
        replay.save(self.folder.replays / f"{name}.json", game)
        if self.learner.rules.is_atari:
            self.recorder.record(game, self.folder.videos / f"{name}.mp4")

    def _save(self, log_sizes: dict[str, int]) -> None:
        best = self._is_best()
        self._store(self._state(), log_sizes, best)

    def _store(
        self, state: checkpoint.Checkpoint, log_sizes: dict[str, int], best: bool = False
    ) -> None:
        state = changed(state, facts=state.facts | {"log": log_sizes})
        checkpoint.save(self.folder, state, self.params.checkpoints_kept, best)

    def _state(self) -> checkpoint.Checkpoint:
        """What the run goes on from, but for the log's sizes."""
        state = self.learner.state()
        facts = state.facts | {
            "best_saved": self.best_saved,
            "seconds": time.monotonic() - self.began,
            "means": self.means.state(),
            "due": [self.log_due, self.evaluation_due, self.video_due],
            "params": self.params.model_dump(),
            "versions": self.versions,
            "schedules": list(self.learner.scheduled_at(self.learner.step)),
        }
        return changed(state, facts=facts)

    def _is_best(self) -> bool:
        """Whether the policy is the best that was saved so far: by its evaluation if the run makes
        any, else by the mean of the last 100 games.
        """
        score = self.learner.totals().get("rollout/ep_rew_mean")
        if self.params.evaluation_interval:
            step, mean = self.evaluated or (-1, 0.0)
            score = mean if step == self.learner.step else None
        if score is None or (self.best_saved is not None and score <= self.best_saved):
            return False
        self.best_saved = score
        return True


@contextmanager
def _released(lock: threading.Lock) -> Iterator[None]:
    """Let go of a lock while the context lasts."""
    lock.release()
    try:
        yield
    finally:
        lock.acquire()


def _as_table(params: Params) -> str:
    rows = [f"| {key} | {value} |" for key, value in params]
    return "\n".join(["| setting | value |", "| --- | --- |", *rows])


def _resident_mib() -> float:
    """Resident memory of this process now."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * resource.getpagesize() / 2**20
