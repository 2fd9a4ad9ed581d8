"""A training run: the learner, and around it the log, checkpoints, videos and evaluations."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace as changed
from pathlib import Path

from ppo import checkpoint, replay
from ppo.evaluate import evaluate, store
from ppo.folder import RunFolder, check_new, check_run, owned, write_whole
from ppo.games import Rules
from ppo.games import check as check_games
from ppo.learner import Diverged, Iteration, Learner, crossed
from ppo.metrics import Log, Means, cut
from ppo.params import GameSettings, NetworkSettings, Params, ParamsError, load
from ppo.recorder import Recorder
from ppo.signals import StopRequest
from ppo.startup import default_threads
from ppo.terminal import Display

__all__ = ["Diverged", "Stopped", "resume", "run"]

# What a run's games, network, storage and bits depend on.
FIXED_ON_RESUME = frozenset(
    [*GameSettings.model_fields, *NetworkSettings.model_fields, "num_steps", "seed", "threads"]
)


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


def run(params: Params, logdir: str | Path) -> None:
    """Train from the beginning, in a new or empty folder.

    Raises FolderError (nothing was created), Stopped (all saved), Diverged, or OSError.
    """
    logdir = Path(logdir)
    check_new(logdir)
    params = resolved(params)
    with StopRequest() as stop, owned(logdir) as folder:
        write_whole(folder.params, params.to_json().encode())
        _Run(params, folder, stop, None).go()


def resume(logdir: str | Path, overrides: Sequence[str] = ()) -> None:
    """Go on from the newest sound checkpoint of a run, or say that it is done.

    ``overrides`` may change what the games, the network and the storage do not depend on.
    Raises ParamsError, FolderError (nothing was changed), CheckpointError, and as ``run``.
    """
    logdir = Path(logdir)
    check_run(logdir)
    before = load(RunFolder(logdir).params, checks=[check_games])
    params = load(RunFolder(logdir).params, overrides, [check_games])
    changes = {key: (old, new) for key, old in before if (new := getattr(params, key)) != old}
    refused = [
        f"{key} = {new!r}: this run began with {old!r}, which a resume cannot change; "
        "start a new run for it"
        for key, (old, new) in changes.items()
        if key in FIXED_ON_RESUME
    ]
    if refused:
        raise ParamsError(refused)
    with StopRequest() as stop, owned(logdir) as folder:
        newest = _newest(folder)
        _Run(params, folder, stop, newest, changes).go()


def _newest(folder: RunFolder) -> checkpoint.Checkpoint | None:
    """The newest sound checkpoint; None for a run that was ended before it saved anything."""
    if not folder.progress.exists() and not any(folder.checkpoints.glob("*.ckpt")):
        return None
    return checkpoint.newest(folder, warn=print)


class _Run:
    """One process' share of a run: everything beside the learning itself."""

    def __init__(
        self,
        params: Params,
        folder: RunFolder,
        stop: Callable[[], bool],
        start: checkpoint.Checkpoint | None,
        changes: dict[str, tuple[object, object]] | None = None,
    ):
        self.params, self.folder, self.stop = params, folder, stop
        self.learner = Learner(params)
        self.means = Means()
        self.video_due = False
        total = params.num_iterations * params.batch_size
        self.display = Display(f"PPO · {params.env_id} · {folder.path}", total)
        self._begin(start, changes or {})

    def _begin(
        self, start: checkpoint.Checkpoint | None, changes: dict[str, tuple[object, object]]
    ) -> None:
        params, say = self.params, self.display.say
        if changes:
            write_whole(self.folder.params, params.to_json().encode())
        if start is None:
            say(f"{params.env_id} with seed {params.seed} and {params.threads} threads")
            self._save({})
        else:
            self._restore(start, changes)
        self.tags = self.learner.tags
        self.log = Log(self.folder.path, self.tags, self.learner.step + 1)
        if start is None or changes:
            self.log.text(self.learner.step, "params", _as_table(params))
        self.recorder = Recorder(say)

    def _restore(
        self, start: checkpoint.Checkpoint, changes: dict[str, tuple[object, object]]
    ) -> None:
        say = self.display.say
        say(f"going on from step {start.step:,}")
        for key, (old, new) in changes.items():
            say(f"{key}: {old!r} before, now {new!r}")
        self.learner.restore(start)
        self.means = Means(start.facts["means"])
        self.video_due = start.facts["video_due"]
        if changes:
            self._say_what_moves(start.facts["schedules"])
        cut(self.folder.path, start.facts["log"])

    def _say_what_moves(self, before: list[float]) -> None:
        now = self.learner.scheduled_at(self.learner.step)
        names = ("learning rate", "clip range")
        for name, old, new in zip(names, before, now, strict=True):
            self.display.say(f"{name}: {old:.3g} before, now {new:.3g}")

    def go(self) -> None:
        """Train until the run is finished or asked to stop."""
        if self.learner.finished:
            self.display.say(f"the run is done, at step {self.learner.step:,}")
            self._close(abandon=False)
            return
        complete = False
        try:
            with self.display:
                self._loop()
            complete = self.learner.finished
        finally:
            self._close(abandon=not complete)
        if not complete:
            raise Stopped(f"stopped at step {self.learner.step:,}; everything is saved")
        self.display.say(f"done, at step {self.learner.step:,}")

    def _loop(self) -> None:
        before, self._last_point = self.learner.step, (self.learner.step, time.perf_counter())
        for iteration in self.learner.iterations(self.stop):
            self.means.add(iteration.scalars)
            self._video(iteration, before)
            evaluated = crossed(self.params.evaluation_interval, before, iteration.step)
            if evaluated:
                self._evaluate(iteration.step)
            due = crossed(self.params.log_interval, before, iteration.step)
            if due or evaluated or self.learner.finished:
                self._log(iteration.step)
            if crossed(self.params.checkpoint_interval, before, iteration.step):
                self._save(self.log.sizes())
            before = iteration.step
        self._save(self.log.sizes())

    def _log(self, step: int) -> None:
        last_step, last_time = self._last_point
        now = time.perf_counter()
        self._last_point = step, now
        scalars = self.means.take() | self.learner.totals()
        scalars["time/fps"] = (step - last_step) / (now - last_time)
        scalars["system/rss_mb"] = _resident_mib()
        self.log.write(step, {tag: scalars[tag] for tag in self.tags if tag in scalars})
        self.display.show(step, scalars)

    def _evaluate(self, step: int) -> None:
        evaluation = evaluate(self.learner.act, self.params, self.params.evaluation_games, step)
        store(self.folder, evaluation, self.params, step)
        self.means.add(
            {"eval/mean_reward": evaluation.mean, "eval/mean_ep_length": evaluation.mean_steps}
        )

    def _video(self, iteration: Iteration, step_before: int) -> None:
        """Record the first game that ends at or after each multiple of the interval."""
        self.video_due |= crossed(self.params.video_interval, step_before, iteration.step)
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
        state = self.learner.state()
        facts = state.facts | {
            "means": self.means.state(),
            "video_due": self.video_due,
            "log": log_sizes,
            "params": self.params.model_dump(),
            "schedules": list(self.learner.scheduled_at(self.learner.step)),
        }
        checkpoint.save(self.folder, changed(state, facts=facts), self.params.checkpoints_kept)

    def _close(self, abandon: bool) -> None:
        self.recorder.close(abandon)
        self.log.close()
        self.learner.close()


def _as_table(params: Params) -> str:
    rows = [f"| {key} | {value} |" for key, value in params]
    return "\n".join(["| setting | value |", "| --- | --- |", *rows])


def _resident_mib() -> float:
    """Resident memory of this process now."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * 4096 / 2**20
