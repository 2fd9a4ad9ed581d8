"""The parts of a run, each alone: what it keeps, what observes it, and its loop."""

import errno
import json
import math
import os
import re
import shlex
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from ppo import checkpoint
from ppo.checkpoint import Checkpoint, CheckpointError, TrainerFacts
from ppo.envs.episode import Episode, Reset
from ppo.envs.registry import resolved, rules_of
from ppo.errors import Collapsed, Diverged, ExitCode, Stopped, WorkerLost
from ppo.evaluate.evaluate import Evaluation
from ppo.files.folder import RunFolder
from ppo.files.lock import owned
from ppo.replay import replay
from ppo.replay.recorder import FinishedVideo
from ppo.replay.replay import ReplayError
from ppo.runs import follower, observers, session, terminal
from ppo.runs.guard import CONFIRMED_AFTER, Guard
from ppo.runs.keeper import Keeper
from ppo.runs.level import GuardState
from ppo.runs.loop import Loop
from ppo.runs.observers import Evaluator, Logger
from ppo.runs.start import RunState, Start, run_of
from ppo.runs.terminal import Pace, Speed
from ppo.runs.verifier import Verifier
from ppo.runs.videographer import TAG, Videographer
from ppo.settings import Params
from ppo.system.signals import Interrupted, StopRequest
from ppo.telemetry import progress
from ppo.telemetry.collapse import Watch
from ppo.telemetry.counters import RECENT_EPISODES, Tally
from ppo.telemetry.log import Log, cut
from ppo.telemetry.scalars import POINTS, tags
from ppo.trainer import Iteration, LearnerState
from ppo.workers.interface import Workers
from tests.policies import Decided, zeros_beside
from tests.rules import rules_for

PARAMS = resolved(
    Params(
        env_id="CartPole-v1",
        network="mlp",
        num_envs=2,
        num_steps=8,
        num_minibatches=1,
        total_steps=64,
        log_interval=32,
        checkpoint_interval=48,
        seed=1,
        threads=1,
    )
)


def state(step: int, games: int = RECENT_EPISODES) -> Checkpoint:
    facts = TrainerFacts(tally=Tally(recent=((1.0, 3),) * games))
    return Checkpoint(step, {"weights/0": np.full(3, step, np.float32)}, facts)


def iteration(step: int, *episodes: Episode, **scalars: float) -> Iteration:
    return Iteration(
        step - 16, step, list(episodes), [step] * len(episodes), {POINTS: 0.0} | scalars
    )


def episode(score: float = 1.0, steps: int = 3) -> Episode:
    return Episode(Reset(5, 0), np.zeros(steps, np.int32), score, steps, 0)


@pytest.fixture(autouse=True)
def captured(monkeypatch) -> None:
    """Trainers that train nothing give their state themselves."""
    monkeypatch.setattr("ppo.runs.loop.capture", lambda trainer: trainer.state())


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def keeper(folder) -> Keeper:
    return Keeper(folder, PARAMS, time.monotonic(), print)


# --- what a run keeps


def test_the_best_checkpoint_has_the_highest_score(keeper, folder):
    for step, score in ((16, 3.0), (32, 5.0), (48, 5.0), (64, None)):
        keeper.save(state(step), score)
    best = checkpoint.decode((folder.checkpoints / "best.ckpt").read_bytes())
    assert (best.step, run_of(best).best_saved) == (32, 5.0)
    assert checkpoint.newest(folder).step == 64


def test_the_score_of_few_games_keeps_no_later_checkpoint_from_being_the_best(keeper, folder):
    for step, score, games in ((16, 9.0, 3), (32, 5.0, 99), (48, 2.0, 100), (64, 1.0, 100)):
        keeper.save(state(step, games), score)
    best = checkpoint.chosen(folder, "best")
    assert (best.step, run_of(best).best_saved) == (48, 2.0)


@pytest.mark.parametrize(("interval", "best"), [(0, 5.0), (32, None)])
def test_best_score_of_training_games_is_not_compared_with_evaluations(interval, best, folder):
    params = PARAMS.model_copy(update={"evaluation_interval": interval})
    resumed = Keeper(folder, params, time.monotonic(), print)
    began = RunState(best_saved=5.0, params=PARAMS.model_dump())
    resumed.restore(state(16).with_part("run", began))
    assert resumed.best_saved == best


def test_a_run_is_not_moved_by_an_environment_that_changes_the_current_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with owned(Path("run")) as folder:
        said: list[str] = []
        keeper = Keeper(folder, PARAMS, time.monotonic(), said.append)
        folder.params.touch()
        monkeypatch.chdir("/")
        keeper.check_folder()
        assert said == []
        (tmp_path / "run").rename(tmp_path / "moved")
        keeper.check_folder()
        keeper.check_folder()
    assert said == [f"run was moved; the run continues in {tmp_path}/moved"]


def test_the_last_resort_saves_the_state_that_was_reached(keeper, folder):
    keeper.save(state(16))
    keeper.remember(state(32))
    code, message = keeper.last_resort()
    assert (code, checkpoint.newest(folder).step) == (ExitCode.STOPPED, 32)
    assert "saved" in message


def test_the_last_resort_puts_nothing_older_in_the_place_of_what_is_saved(keeper, folder):
    keeper.remember(state(16))
    keeper.save(state(32))
    assert keeper.last_resort()[0] == ExitCode.STOPPED
    assert checkpoint.newest(folder).step == 32


def test_the_last_resort_does_not_wait_for_a_save_that_hangs(keeper, monkeypatch):
    hangs, released = threading.Event(), threading.Event()

    def stuck(*_):
        hangs.set()
        released.wait()

    monkeypatch.setattr(checkpoint, "save", stuck)
    keeper.remember(state(16))
    saving = threading.Thread(target=lambda: keeper.save(state(32)))
    saving.start()
    hangs.wait()
    asked = time.monotonic()
    code, message = keeper.last_resort()
    assert time.monotonic() - asked < 2.5
    assert code == ExitCode.FAILED and "does not answer" in message
    released.set()
    saving.join()


def test_a_last_resort_that_fails_says_why(keeper, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    keeper.remember(state(16))
    code, message = keeper.last_resort()
    assert code == ExitCode.FAILED and "No space left" in message


def test_the_last_resort_ends_a_run_whose_envs_are_still_made(folder, monkeypatch, capsys):
    class Slow:
        def __init__(self, params, workers, stop):
            stop.last_resort()
            raise Interrupted

    codes = []
    monkeypatch.setattr(session, "Trainer", Slow)
    monkeypatch.setattr(terminal, "LAST_WORDS_SECONDS", 60)
    monkeypatch.setattr("os._exit", codes.append)
    with pytest.raises(Stopped), StopRequest() as stop:
        session.Session(PARAMS, folder, stop, 0.0, Workers(), Start(), None)
    assert codes == [ExitCode.STOPPED]
    assert f"--logdir={folder.path} --resume" in capsys.readouterr().out


def test_a_resume_that_is_stopped_before_it_begins_shows_what_it_changes(folder, monkeypatch):
    def stopped(*_):
        raise Interrupted

    monkeypatch.setattr(session, "Trainer", stopped)
    start = Start(unstored={"learning_rate": (0.1, 0.2), "wandb_project": (None, "my runs")})
    with pytest.raises(Stopped) as caught, StopRequest() as stop:
        session.Session(PARAMS, folder, stop, 0.0, Workers(), start, None)
    added = ["--resume", "--set", "learning_rate=0.2", "--set", "wandb_project=my runs"]
    assert shlex.split(str(caught.value))[-5:] == added


# --- what observes it


class Said:
    """A display that remembers."""

    def __init__(self) -> None:
        self.shown: list[int] = []
        self.last: list[bool] = []
        self.speeds: list[Speed | None] = []
        self.said: list[str] = []

    def show(self, step: int, scalars: dict, speed: Speed | None, is_last: bool) -> None:
        self.shown.append(step)
        self.last.append(is_last)
        self.speeds.append(speed)

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def log(folder):
    log = Log(folder.path, tags(1, [], []), 1)
    yield log
    log.close()


def never() -> bool:
    return False


def logger(log: Log, step: int = 0) -> Logger:
    training = Training([])
    training.step = step
    made = Logger(training, None, Said(), Pace(PARAMS), lambda: 1.0, lambda *_: None)
    made.log = log
    return made


def test_the_logger_is_due_at_its_interval_and_writes_means(log, folder):
    observer = logger(log)
    due = []
    for step, loss in ((16, 1.0), (32, 2.0)):
        observer.see(iteration(step, **{"train/loss": loss}))
        due.append(observer.due)
    assert due == [False, True]
    observer.act(32, never)
    assert not observer.due and observer.display.shown == [32]
    header, row = folder.progress.read_text().splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["train/loss"] == "1.5"


def test_the_logger_says_once_what_is_outside_its_limits_for_several_entries(log):
    observer = logger(log)
    for step in range(32, 8 * 32, 32):
        observer.see(iteration(step, **{"train/approx_kl": 0.3}))
        observer.act(step, never)
    (said,) = observer.display.said
    assert said.startswith(
        "step 160: last 5 log entries: train/approx_kl is 0.3 (healthy below 0.1)"
    )


def test_the_logger_shows_the_speed_of_the_pace(log):
    clock = [100.0]
    observer = logger(log)
    observer.pace = Pace(PARAMS, lambda: clock[0])
    for seconds, step in ((30.0, 40), (2.0, 80), (10.0, 120)):
        clock[0] += seconds
        observer.see(iteration(step))
        observer.act(step, never)
    first, *others = observer.display.speeds
    assert first is None
    assert [speed.steps_per_second for speed in others] == [40 / 2, 80 / 12]


def test_the_state_of_a_log_that_no_run_writes_is_refused(log):
    means = {"train/loss": [math.inf, 1]}
    with pytest.raises(CheckpointError, match=r"its field log\.means.* is invalid"):
        logger(log).restore(Checkpoint(16, {}, parts={"log": {"means": means}}))


class Evaluated:
    """Replaces an evaluation, which has tests of its own."""

    def __init__(self, monkeypatch, interrupted: bool = False, scores=(2.0, 4.0)):
        self.calls: list[int] = []

        def evaluate(policy, params, num_games, step, stop):
            self.calls.append(step)
            if interrupted:
                raise Interrupted
            return Evaluation([episode(score) for score in scores])

        monkeypatch.setattr(observers, "evaluate", evaluate)


class AnyPolicy:
    choice = "sampled"


def evaluator(folder: RunFolder) -> Evaluator:
    params = PARAMS.model_copy(update={"evaluation_interval": 32})
    return Evaluator(AnyPolicy(), params, folder, Pace(params), Said().say, print)


def test_the_evaluator_is_due_at_its_interval_until_it_has_evaluated(folder, monkeypatch):
    Evaluated(monkeypatch)
    observer = evaluator(folder)
    observer.see(iteration(16))
    assert not observer.due
    observer.see(iteration(32))
    assert observer.due
    included: list[dict] = []
    observer.include = included.append
    observer.act(32, never)
    assert included == [{"eval/mean_reward": 3.0, "eval/mean_ep_length": 3.0}]
    assert not observer.due
    assert (observer.score_at(32), observer.score_at(48)) == (3.0, None)


def test_an_evaluation_is_printed_with_its_interval_and_the_best_so_far(folder, monkeypatch):
    Evaluated(monkeypatch)
    display = Said()
    observer = evaluator(folder)
    observer.say = display.say
    observer.act(1000, never)
    own = {"seed": PARAMS.seed, "scores": [1.0] * PARAMS.evaluation_games}
    lines = [{"policy": "sampled", "step": 40, "mean": 7.25, **own}]
    lines += [{"policy": "greedy", "step": 40, "mean": 8.5, **own}]
    # Of a later step, abandoned.
    lines += [{"policy": "sampled", "step": 5000, "mean": 9.0, **own}]
    with open(folder.evaluations, "a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines) + '{"policy": "samp')
    observer.act(2000, never)
    assert display.said == [
        "step 1,000: evaluation 3.00 (95 %: -9.71 to 15.71), best so far 3.00",
        "step 2,000: evaluation 3.00 (95 %: -9.71 to 15.71), best so far 7.25",
    ]


@pytest.mark.parametrize("scores", [[21.0], [21.0] * 3, [21.0] * 10])
def test_an_evaluation_of_equal_scores_is_printed_without_an_interval(scores, folder, monkeypatch):
    Evaluated(monkeypatch, scores=scores)
    observer, display = evaluator(folder), Said()
    observer.say = display.say
    observer.act(1000, never)
    assert display.said == ["step 1,000: evaluation 21.00, best so far 21.00"]


def test_an_evaluation_that_is_interrupted_stays_due(folder, monkeypatch):
    Evaluated(monkeypatch, interrupted=True)
    observer = evaluator(folder)
    observer.see(iteration(32))
    with pytest.raises(Interrupted):
        observer.act(32, lambda: True)
    assert observer.due


def videographer(folder, recorder, say=print, publish=None, **changes: object) -> Videographer:
    params = PARAMS.model_copy(update=changes)
    return Videographer(params, "sampled", folder, recorder, say, publish)


def test_the_videographer_keeps_the_first_episode_from_each_multiple_on(folder):
    observer = videographer(folder, Queue(), video_interval=32)
    observer.see(iteration(16, episode(1.0)))
    observer.see(iteration(32))  # due, but no episode ended
    observer.see(iteration(48, episode(2.0), episode(3.0)))
    observer.see(iteration(64, episode(-4.0)))
    first = [at - 3 * PARAMS.num_envs for at in (48, 64)]
    assert sorted(path.stem for path in folder.replays.iterdir()) == [
        f"step-{first[0]:012d}-to-000000000048-score_2",
        f"step-{first[1]:012d}-to-000000000064-score_-4",
    ]
    (kept,) = (replay.load(path) for path in folder.replays.glob("*-to-000000000048-*"))
    assert replay.title(kept).endswith(f"score 2, sampled policy of steps {first[0]} to 48")


def test_a_video_s_title_and_its_file_name_the_step_at_which_the_episode_ended(folder):
    observer = videographer(folder, Queue(), video_interval=32)
    observer.see(replace(iteration(32, episode()), ended_at=[26]))
    (path,) = folder.replays.iterdir()
    kept = replay.load(path)
    assert "-to-000000000026-" in path.name and replay.title(kept).endswith(" to 26")
    assert replay.step_of(kept) == 32  # where the run knows of it


class Untrained:
    """Counts how often it is asked."""

    choice, asked = "sampled", 0

    def prepare(self):
        pass

    def act(self, observations, key):
        self.asked += 1
        return Decided(*zeros_beside(np.zeros(len(observations), int)))


def test_a_game_of_the_untrained_policy_is_kept_once_and_within_five_minutes(folder, monkeypatch):
    monkeypatch.setattr("ppo.evaluate.evaluate.SHORT_GAME_FRAMES", 40)
    policy, queue = Untrained(), Queue()
    video = videographer(folder, queue, env_id="PongNoFrameskip-v4")
    video.begin(policy, lambda: True)
    assert not folder.replays.exists()  # asked to stop: a resume makes up for it
    video.begin(policy, lambda: False)
    (path,) = folder.replays.iterdir()
    kept = replay.load(path)
    assert path.stem == "step-000000000000-untrained-score_0"
    assert (kept.frames, kept.steps, policy.asked, queue.asked) == (40, 10, 10, [0])
    replay.verify(kept)
    video.begin(policy, lambda: False)  # again, after a resume from step 0
    assert policy.asked == 10


class Queue:
    """A recorder that notes what it is to record, and has it made on request."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.ready: list[FinishedVideo] = []

    def record(self, kept: replay.Replay, path: Path) -> None:
        self.asked.append(replay.step_of(kept))

    def made(self):
        while self.ready:
            yield self.ready.pop(0)


def kept(step: object) -> replay.Replay:
    return replay.Replay.from_episode(episode(-3.0), rules_for("pong"), step=step)


def made(step: int) -> FinishedVideo:
    return FinishedVideo(kept(step), Path(f"run/videos/step-{step}.mp4"), GIF)


GIF = b"GIF89a" + struct.pack("<HH", 160, 210) + b"..."


def published_in(log: Log) -> Callable[[FinishedVideo], None]:
    return lambda made: log.image(made.step, TAG, made.gif)


def test_a_video_that_was_made_is_reported_once_and_pictured_in_the_log(folder, log):
    queue, display = Queue(), Said()
    video = videographer(folder, queue, display.say, published_in(log))
    video.announce()
    assert display.said == []
    queue.ready = [made(32)]
    video.announce()
    video.announce()
    assert display.said == ["step 32: video, score -3: videos/step-32.mp4"]
    assert pictures(folder) == [32] and video.logged_until == 32


def pictures(folder: RunFolder) -> list[int]:
    found = EventAccumulator(str(folder.path), tensor_size_guidance={"images": 0})
    found.Reload()
    if TAG not in found.PluginTagToContent("images"):
        return []
    return [point.step for point in found.Tensors(TAG)]


@pytest.mark.parametrize("step", [None, "7", -5, 1.5])
def test_a_replay_without_a_step_is_of_step_zero(step):
    assert replay.step_of(kept(step)) == 0


@pytest.mark.parametrize(
    ("videos", "pictured", "expected"),
    [
        ([16, 32], 16, [32, 48]),  # the log lost the picture of 32, and 48 was abandoned
        ([16, 32, 48], 48, []),
        ([16], math.inf, [32, 48]),
    ],
)
def test_a_resume_records_what_is_missing_and_what_the_log_does_not_show(
    folder, videos, pictured, expected
):
    folder.replays.mkdir()
    folder.videos.mkdir()
    for step in (16, 32, 48, 64):  # 64 is after the checkpoint: the run comes there again
        replay.save(folder.replays / f"step-{step:012d}.json", kept(step))
    for step in videos:
        (folder.videos / f"step-{step:012d}.mp4").touch()
    queue = Queue()
    video = videographer(folder, queue, env_id="PongNoFrameskip-v4")
    video.logged_until = pictured
    video.record_missing(50)
    assert queue.asked == expected


NAMED = {
    "step-000000000000-untrained-score_-3": 0,
    "step-000000000016-to-000000000063-score_-3": 64,  # its iteration ended at the checkpoint
    "step-000000000048-to-000000000070-score_-3": 80,
    "step-000000000096-sampled-seed-1-of-1": 96,  # watched, of another checkpoint
}


def test_episodes_of_steps_that_are_made_again_are_removed(folder):
    folder.replays.mkdir()
    folder.videos.mkdir()
    for name, step in NAMED.items():
        replay.save(folder.replays / f"{name}.json", kept(step))
        (folder.videos / f"{name}.mp4").touch()
    copied = folder.replays / "step-000000000048-to-000000000070-score_-3 (copy).json"
    replay.save(copied, kept(80))
    (folder.replays / "step-000000000099-to-000000000110-score_-3.json").write_text("{")
    videographer(folder, Queue()).cut(64)
    left = {path.stem for path in folder.videos.iterdir()}
    assert left == NAMED.keys() - {"step-000000000048-to-000000000070-score_-3"}
    assert {path.stem for path in folder.replays.iterdir()} == left | {copied.stem}


def test_a_checkpoint_and_the_log_cut_to_it_know_the_same_images(keeper, folder, log):
    looped = loop(Training([16, 32]), keeper, log)
    looped.video.recorder.ready = [made(16)]
    looped.run()
    parts = checkpoint.newest(folder).parts
    looped.video.recorder.ready = [made(32)]
    looped.video.announce()
    assert pictures(folder) == [16, 32]
    cut(folder.path, parts["log"]["sizes"])
    assert pictures(folder) == [16] and parts["video"]["shown"] == 16


# --- the guard


class Learning:
    """A trainer whose weights are the number of the iteration."""

    workers, finished = Workers(), False

    def __init__(self) -> None:
        self.iteration, self.tally = 0, Tally()

    @property
    def rollbacks(self) -> int:
        return self.tally.rollbacks

    @property
    def step(self) -> int:
        return 16 * self.iteration

    def learner(self) -> LearnerState:
        return LearnerState(
            [np.array([self.iteration])], [np.array([-self.iteration])], [np.zeros(2)]
        )

    def roll_back(self, learner: LearnerState) -> None:
        self.rolled_back_to = int(learner.weights[0][0])
        self.tally = self.tally.after_rollback()

    def schedules_at(self, step: int) -> tuple[float, float]:
        return 1e-3 / 8**self.rollbacks, 0.1

    def state(self) -> Checkpoint:
        return state(self.step)


def guard(mode: str) -> Guard:
    said = Said()
    watcher = Guard(Learning(), PARAMS.model_copy(update={"collapse_guard": mode}), said.say)
    watcher.said = said.said
    return watcher


def saved_by(watcher: Guard) -> Checkpoint:
    return checkpoint.decode(
        checkpoint.encode(Loop(watcher.trainer, [watcher], None, None, never).state)
    )


def show(watcher: Guard, *points: float) -> None:
    """Each a rollout's points per step, with a little noise."""
    watcher.begin()
    for level in points:
        watcher.trainer.iteration += 1
        number = watcher.trainer.iteration
        wiggle = 0.01 * (number * 7 % 5 - 2)
        watcher.see(iteration(16 * number, **{POINTS: level + wiggle}))


RISE = [0.0] * 12 + [i / 40 for i in range(41)] + [1.0] * 30
FALL = [0.3] * 8


def test_the_guard_warns_once_of_a_collapse_and_never_of_a_single_reading():
    watcher = guard("warn")
    show(watcher, *RISE, 0.0, *[1.0] * 5, 0.1, *[1.0] * 5)
    assert watcher.said == []
    show(watcher, *FALL)
    assert len(watcher.said) == 1 and "has collapsed" in watcher.said[0]
    show(watcher, *[0.0] * 50)
    assert len(watcher.said) == 1
    show(watcher, *[1.0] * 20, *FALL)
    assert len(watcher.said) == 2
    assert watcher.trainer.rollbacks == 0 and not watcher.arrays()


def test_the_guard_puts_the_healthy_policy_back_three_times_and_then_ends_the_run():
    watcher = guard("rollback")
    show(watcher, *RISE)
    began = watcher.trainer.iteration
    for rollback in (1, 2, 3):
        show(watcher, *[1.0] * 12, *FALL)
        assert watcher.trainer.rollbacks == rollback
        assert watcher.trainer.rolled_back_to <= began - CONFIRMED_AFTER
    assert "cut to 0.000125 " in watcher.said[0] and "1 of at most 3" in watcher.said[0]
    with pytest.raises(Collapsed, match="after 3 rollbacks"):
        show(watcher, *[1.0] * 12, *FALL)


def test_a_restored_policy_is_measured_by_what_it_had_reached_itself():
    watcher = guard("rollback")
    show(watcher, *[0.0] * 15, *[i / 60 for i in range(61)], *FALL)
    assert watcher.trainer.rollbacks == 1 and watcher.trainer.rolled_back_to < 60
    reached = (watcher.trainer.rolled_back_to - 15) / 60
    assert watcher.watch.best == pytest.approx(reached, abs=0.1)
    show(watcher, *[reached] * 40)
    assert watcher.trainer.rollbacks == 1


def test_a_collapse_is_noticed_at_once_after_one_that_was_undone():
    watcher = guard("rollback")
    show(watcher, *RISE, *[1.0] * 60, *FALL)
    assert watcher.trainer.rollbacks == 1
    show(watcher, *[0.3] * 5)
    assert watcher.trainer.rollbacks == 2


@pytest.mark.parametrize("rollouts", [60, 150, 400])
def test_the_restored_policy_is_from_before_a_slow_collapse(rollouts):
    watcher = guard("rollback")
    show(watcher, *RISE, *[1.0] * 100)
    began = watcher.trainer.iteration
    for level in np.linspace(1.0, 0.5, rollouts):
        show(watcher, float(level))
        if watcher.trainer.rollbacks:
            break
    lost = 0.5 * (watcher.trainer.rolled_back_to - began) / rollouts
    assert watcher.trainer.rollbacks == 1 and lost < 0.12
    assert began - 40 <= watcher.trainer.rolled_back_to


def test_a_policy_of_which_the_level_is_known_is_watched_from_the_first_rollout_on():
    known = state(0).with_part("guard", GuardState(watch=Watch(best=1.0, low=0.0)))
    for mode in ("warn", "rollback"):
        watcher = guard(mode)
        watcher.restore(known)
        show(watcher, 1.0, 1.0, *[0.3] * 6)
        assert len(watcher.said) == 1 and "collapsed" in watcher.said[0]
        assert watcher.trainer.rollbacks == (mode == "rollback")


def test_a_guard_of_before_it_kept_what_it_knew_of_a_policy_takes_what_it_knows_now():
    watcher = guard("rollback")
    show(watcher, *RISE)
    facts = watcher.state().model_copy(update={"kept": {}})
    later = guard("rollback")
    later.restore(saved_by(watcher).with_part("guard", facts))
    assert later.kept["healthy"].watch == watcher.watch.restarted()


def test_a_policy_kept_before_it_played_differently_is_not_restored(monkeypatch):
    watcher = guard("rollback")
    show(watcher, *RISE)
    unknown = GuardState(mode="rollback", watch=Watch(low=0.0))
    later = guard("rollback")
    later.restore(saved_by(watcher).with_part("guard", unknown))
    later.trainer = watcher.trainer
    began = later.trainer.iteration
    monkeypatch.setattr(later, "_measured", lambda _: b"1.0")
    later.measure(lambda: False)
    for rollbacks in (1, 2):
        show(later, *[1.0] * 2, *[0.3] * 6)
        assert later.trainer.rollbacks == rollbacks
        assert later.trainer.rolled_back_to == began


@pytest.mark.parametrize(("measured", "best"), [(b"nan", -math.inf), (b"0.5", 0.5)])
def test_a_level_that_is_not_finite_is_not_known(measured, best, monkeypatch):
    watcher = guard("warn")
    watcher.trainer.iteration = 1
    monkeypatch.setattr(watcher, "_measured", lambda _: measured)
    watcher.measure(lambda: False)
    assert watcher.watch.best == best


def test_a_request_to_stop_while_the_level_is_measured_stops_all_workers(monkeypatch):
    watcher = guard("warn")
    watcher.trainer.iteration = 1
    monkeypatch.setattr(watcher, "_measured", lambda _: b"")
    with pytest.raises(Interrupted):
        watcher.measure(lambda: True)


def test_a_fork_that_collapses_before_anything_is_confirmed_is_restored_to_its_start():
    watcher = guard("rollback")
    show(watcher, *[1.0] * 12, *[0.0] * 12)
    assert watcher.trainer.rollbacks == 1
    assert watcher.trainer.rolled_back_to == 0


def test_a_guard_switched_to_rollback_after_a_collapse_takes_what_is_left_as_healthy():
    warned = guard("warn")
    show(warned, *RISE, *FALL)
    acts = guard("rollback")
    acts.restore(saved_by(warned))
    acts.trainer = warned.trainer
    show(acts, *[0.3] * 60)
    assert acts.trainer.rollbacks == 0 and acts.said == []
    show(acts, *[0.3 + i / 40 for i in range(29)], *[1.0] * 20, *FALL)
    assert acts.trainer.rollbacks == 1


def test_a_guard_that_was_off_knows_nothing_of_a_collapse_meanwhile():
    healthy = guard("warn")
    show(healthy, *RISE)
    for mode in ("off", "rollback"):
        later = guard(mode)
        later.restore(saved_by(healthy))
        later.trainer = healthy.trainer
        show(later, *[0.3] * 60)
        healthy = later
    assert healthy.trainer.rollbacks == 0


@pytest.mark.parametrize("meanwhile", ["off", "warn"])
def test_a_policy_kept_before_the_guard_was_off_is_not_restored(meanwhile):
    watcher = guard("rollback")
    show(watcher, *RISE)
    for mode in (meanwhile, "rollback"):
        later = guard(mode)
        later.restore(saved_by(watcher))
        later.trainer, watcher = watcher.trainer, later
        began = watcher.trainer.iteration
        show(watcher, *[1.0] * 60)
    show(watcher, *FALL)
    assert watcher.trainer.rollbacks == 1 and watcher.trainer.rolled_back_to >= began


def test_a_guard_that_acts_from_now_on_knows_how_good_the_policy_was():
    warned = guard("warn")
    show(warned, *RISE, 0.0)  # a single reading that is low
    acts = guard("rollback")
    acts.restore(saved_by(warned))
    acts.trainer = warned.trainer
    show(acts, *FALL)
    assert acts.trainer.rollbacks == 1


def test_the_restored_policy_had_no_evidence_against_it_for_long():
    watcher = guard("rollback")
    show(watcher, *RISE, *[1.0] * 200)
    fell = watcher.trainer.iteration
    show(watcher, *FALL)
    age = fell - watcher.trainer.rolled_back_to
    assert CONFIRMED_AFTER <= age <= 2 * CONFIRMED_AFTER


@pytest.mark.parametrize("cut", [5, 30, 80, 99, 108, 112, 120])
def test_a_restored_guard_continues_like_the_unbroken_one(cut):
    points = [*RISE, *[1.0] * 25, *FALL, *[1.0] * 30, *FALL]
    whole, parts = guard("rollback"), guard("rollback")
    show(whole, *points)
    show(parts, *points[:cut])
    resumed = guard("rollback")
    resumed.restore(saved_by(parts))
    resumed.trainer = parts.trainer
    show(resumed, *points[cut:])
    assert resumed.state() == whole.state()
    assert whole.trainer.rollbacks == resumed.trainer.rollbacks == 2
    assert whole.trainer.rolled_back_to == resumed.trainer.rolled_back_to
    ours, theirs = resumed.arrays(), whole.arrays()
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_a_guard_that_restored_the_initial_policy_measures_no_level(monkeypatch):
    collapsing = guard("rollback")
    show(collapsing, *[1.0] * 20)
    while not collapsing.trainer.rollbacks:
        show(collapsing, 0.3)
    assert collapsing.watch.knows_nothing and collapsing.trainer.rolled_back_to == 0
    resumed = guard("rollback")
    resumed.restore(saved_by(collapsing))
    resumed.trainer = collapsing.trainer
    monkeypatch.setattr(resumed, "_measured", lambda _: b"1.0")
    resumed.measure(lambda: False)
    assert resumed.state() == collapsing.state()


def test_a_guard_that_is_off_sees_nothing():
    watcher = guard("off")
    show(watcher, *RISE, *FALL)
    assert watcher.said == [] and watcher.watch.recent == ()


# --- the loop


class Training:
    """A trainer that trains nothing."""

    def __init__(self, steps: list[int], ends_with: Exception | None = None):
        self.params, self.step, self._steps, self._ends_with = PARAMS, 0, steps, ends_with
        self.finished = False

    def iterations(self, stop):
        for step in self._steps:
            if stop():
                return
            self.step, self.finished = step, step == 64
            yield iteration(step, **{"train/loss": float(step)})
        if self._ends_with:
            raise self._ends_with

    def totals(self) -> dict[str, float]:
        return {}

    def state(self) -> Checkpoint:
        return state(self.step)

    def schedules_at(self, step: int) -> tuple[float, float]:
        return 1e-3, 0.1


def loop(training: Training, keeper: Keeper, log: Log, stop=never, **changes: object) -> Loop:
    params = training.params = PARAMS.model_copy(update=changes)
    logs = logger(log)
    logs.trainer, say = training, logs.display.say
    keeper.say = say
    evaluator = Evaluator(AnyPolicy(), params, keeper.folder, logs.pace, say, logs.include)
    verifier = Verifier(params, getattr(training, "envs", None), say)
    publish = published_in(log)
    video = Videographer(params, "sampled", keeper.folder, Queue(), say, publish)
    guard = Guard(training, params, say)
    observers = [video, evaluator, verifier, logs, guard, keeper]
    looped = Loop(training, observers, keeper, evaluator, stop)
    looped.logger, looped.video = logs, video
    return looped


def resume(looped: Loop, saved: Checkpoint) -> None:
    """Restore what a loop observes, as a new process does."""
    looped.trainer.step = saved.step
    for observer in looped.observers:
        observer.restore(saved)


def test_the_loop_logs_and_saves_at_the_intervals_and_at_the_end(keeper, folder, log):
    looped = loop(Training([16, 32, 48, 64]), keeper, log)
    looped.run()
    assert looped.done
    assert looped.logger.display.shown == [32, 64]
    assert looped.logger.display.last == [False, True]
    assert checkpoint.steps(folder) == [64, 48]


def test_the_best_is_kept_of_a_run_that_gets_worse(keeper, folder, log):
    class Worsening(Training):
        def totals(self) -> dict[str, float]:
            return {"rollout/ep_rew_mean": {48: 9.0, 64: 2.0}.get(self.step, 0.0)}

    loop(Worsening([16, 32, 48, 64]), keeper, log).run()
    assert (checkpoint.chosen(folder, "best").step, checkpoint.newest(folder).step) == (48, 64)


def test_a_loop_that_is_stopped_saves_its_state(keeper, folder, log):
    asked = iter([False, False, True])
    looped = loop(Training([16, 32, 48, 64]), keeper, log, lambda: next(asked))
    looped.run()
    assert not looped.done
    saved = checkpoint.newest(folder)
    assert saved.step == 32
    assert saved.parts["log"]["sizes"] == log.sizes()


def test_a_stopped_and_an_unbroken_run_have_the_same_best_policy(keeper, folder, log):
    class Worsening(Training):
        def totals(self) -> dict[str, float]:
            return {"rollout/ep_rew_mean": {32: 9.0, 48: 5.0, 64: 2.0}.get(self.step, 0.0)}

    asked = iter([False, False, True])
    loop(Worsening([16, 32, 48, 64]), keeper, log, lambda: next(asked)).run()
    assert checkpoint.newest(folder).step == 32
    loop(Worsening([48, 64]), keeper, log).run()
    assert checkpoint.chosen(folder, "best").step == 48


def test_a_checkpoint_is_on_the_disk_after_the_log_that_it_names_and_before_its_folder(
    keeper, folder, log, monkeypatch
):
    tape: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(number: int) -> None:
        tape.append(Path(os.readlink(f"/proc/self/fd/{number}")).name)
        sync(number)

    def renamed(before: Path, after: Path) -> None:
        tape.append(f"-> {after.name}")
        replace(before, after)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    loop(Training([16, 32, 48, 64]), keeper, log).run()
    (events,) = folder.path.glob("events.*")
    tape = [re.sub(r"^\.ppo-.*\.partial$", "content", name) for name in tape]
    for step in (48, 64):
        named = tape.index(f"-> step-{step:012d}.ckpt")
        assert set(tape[named - 3 : named - 1]) == {"progress.csv", events.name}
        assert (tape[named - 1], tape[named + 1]) == ("content", "checkpoints")


def test_what_was_logged_in_part_is_saved_with_the_checkpoint(keeper, folder, log):
    asked = iter([False, True])
    loop(Training([16, 32]), keeper, log, lambda: next(asked)).run()
    means = checkpoint.newest(folder).parts["log"]["means"]
    assert means == {"train/loss": [16.0, 1], POINTS: [0.0, 1]}


@pytest.mark.parametrize("more", [[], [64, "saved 64"]])
def test_each_iteration_is_kept_for_the_last_resort_and_the_end_saved_once(
    more, keeper, folder, log
):
    kept, keep = [], keeper.remember
    keeper.remember = lambda state: [kept.append(state.step), keep(state)]
    save = keeper.save
    keeper.save = lambda state, *more: [kept.append(f"saved {state.step}"), save(state, *more)]
    loop(Training([16, 32, 48, *more[:1]]), keeper, log).run()
    assert kept == [16, 32, 48, "saved 48", *more]


def test_the_batch_of_a_diverged_run_is_saved(keeper, folder, log):
    diverged = Diverged(16, {"rewards": np.array([np.nan])})
    looped = loop(Training([16], diverged), keeper, log)
    with pytest.raises(Diverged):
        looped.run()
    with np.load(folder.path / "diverged-000000000016.npz") as batch:
        assert np.isnan(batch["rewards"]).all()
    assert "diverged-000000000016.npz" in looped.logger.display.said[0]


def test_a_run_has_diverged_though_its_batch_finds_no_place(keeper, folder, log, monkeypatch):
    def full(path: Path, _: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("ppo.runs.keeper.write_whole", full)
    looped = loop(Training([16], Diverged(16, {"rewards": np.array([np.nan])})), keeper, log)
    with pytest.raises(Diverged):
        looped.run()
    assert "No space left on device" in looped.logger.display.said[0]


@pytest.mark.parametrize(
    "outcome", [Collapsed(32, 3), WorkerLost(1, "why")], ids=["collapsed", "lost"]
)
def test_a_run_that_ends_so_has_saved_what_it_reached(outcome, keeper, folder, log):
    with pytest.raises(type(outcome)):
        loop(Training([16, 32], outcome), keeper, log).run()
    saved = checkpoint.newest(folder)
    assert (saved.step, saved.parts["log"]["sizes"]) == (32, log.sizes())


def due_in(saved: Checkpoint) -> set[str]:
    """What is due or wanted of a run as it was saved."""
    return {name for name, part in saved.parts.items() if part.get("due") or part.get("wanted")}


def test_an_interrupted_evaluation_is_due_again_after_a_resume(keeper, folder, log, monkeypatch):
    Evaluated(monkeypatch, interrupted=True)
    loop(Training([16]), keeper, log, evaluation_interval=16).run()
    saved = checkpoint.newest(folder)
    assert due_in(saved) == {"evaluation"}
    evaluated = Evaluated(monkeypatch)
    again = loop(Training([]), keeper, log, evaluation_interval=16)
    resume(again, saved)
    again.run()
    assert evaluated.calls == [16]


@pytest.mark.parametrize("interval", [0, 32])
def test_what_was_due_is_dropped_if_the_settings_switch_it_off(interval, folder):
    names = "evaluation_interval", "video_interval", "replay_check_interval"
    params = PARAMS.model_copy(update=dict.fromkeys(names, interval))
    restored = [
        Evaluator(AnyPolicy(), params, folder, Pace(params), print, print),
        videographer(folder, Queue(), video_interval=interval),
        Verifier(params, None, print),
    ]
    due = {one.name: {"due" if one.name == "evaluation" else "wanted": True} for one in restored}
    for one in restored:
        one.restore(Checkpoint(16, {}, parts=due))
        assert (one.due or one.wanted) == bool(interval), one.name


def test_the_best_policy_is_the_same_where_a_stop_interrupted_its_evaluation(
    keeper, folder, log, monkeypatch
):
    scores, often = {16: 9.0, 32: 2.0, 48: 3.0}, {"evaluation_interval": 16}

    def evaluate(policy, params, num_games, step, stop):
        if stop():
            raise Interrupted
        return Evaluation([episode(scores[step])])

    monkeypatch.setattr(observers, "evaluate", evaluate)
    asked = iter([False, True, True])
    loop(Training([16]), keeper, log, lambda: next(asked), **often).run()
    saved = checkpoint.newest(folder)
    assert due_in(saved) == {"evaluation"}
    resumed = loop(Training([32, 48]), keeper, log, **often)
    resume(resumed, saved)
    resumed.logger._last = 16, time.perf_counter()  # as ``open`` does
    resumed.run()
    assert checkpoint.decode((folder.checkpoints / "best.ckpt").read_bytes()).step == 16
    first, *others = progress.numbers(folder.path)
    assert first["step"] == 16 and "time/fps" not in first
    assert all(row["time/fps"] > 0 for row in others)


# --- the other workers


class Other(Workers):
    """A worker other than the first, and what it receives from the first."""

    index = 1

    def __init__(self, received: bytes):
        self.received = received

    def broadcast(self, content: bytes) -> bytes:
        return self.received


def other(start: Start) -> Other:
    class First(Workers):
        count = 2

        def broadcast(self, content: bytes) -> bytes:
            shared.append(content)
            return content

    shared: list[bytes] = []
    follower.send_start(First(), PARAMS, start)
    return Other(*shared)


def test_a_follower_that_is_stopped_while_games_begin_has_been_stopped(monkeypatch):
    def interrupted(*_):
        raise Interrupted

    monkeypatch.setattr(follower, "Trainer", interrupted)
    with pytest.raises(Stopped, match="worker 1"):
        follower.follow(other(Start()), PARAMS.threads, lambda: True, Path("run"))


def test_the_guard_of_a_follower_sees_every_iteration(monkeypatch):
    seen = []
    monkeypatch.setattr(follower.Guard, "see", lambda _, iteration: seen.append(iteration.step))
    follower.follow(other(Start()), PARAMS.threads, lambda: False, Path("run"))
    assert seen == [16, 32, 48, 64]


def test_the_first_worker_says_which_other_computes_differently(capsys):
    class Three(Workers):
        count = 3

        def all_gather(self, data: bytes) -> list[bytes]:
            other = json.loads(data) | {"numpy": "1.0", "environment": "NVIDIA_TF32_OVERRIDE=0"}
            return [data, data, json.dumps(other).encode()]

    follower.send_start(Three(), PARAMS, Start())
    one, two = capsys.readouterr().out.splitlines()
    assert one.startswith("numpy is 2") and "1.0 in worker 2: their weights may drift" in one
    assert two.startswith("environment is default in the first worker and NVIDIA_TF32_OVERRIDE=0")


@pytest.mark.parametrize(
    ("start", "continued", "new_games"),
    [
        ({}, "all", False),
        ({"new_games": True}, "all", True),
        ({"fork_of": Path("origin")}, "as many as fit", False),
        ({"fork_of": Path("origin"), "changes": {"noop_max": (30, 1)}}, "none", False),
    ],
)
def test_a_follower_begins_with_the_same_games_as_the_first_worker(
    start, continued, new_games, monkeypatch
):
    restored = []

    def restore(trainer, saved, stop, *how):
        restored.append((saved.step, *how))
        raise Interrupted

    monkeypatch.setattr(follower, "restore", restore)
    with pytest.raises(Stopped):
        follower.follow(
            other(Start(state(32), **start)), PARAMS.threads, lambda: False, Path("run")
        )
    assert restored == [(32, continued, new_games)]


# --- the check on the run


def wrong(checked: object, interrupted: object) -> None:
    raise ReplayError("the replayed game has score 3, not 4")


class Finished(Training):
    """Ends an episode in each iteration, and remembers whether all episodes are seeded."""

    seeds_every_episode = False
    resets = 3

    def iterations(self, stop):
        for each in super().iterations(stop):
            ended = replace(episode(), reset=Reset(5, self.resets))
            yield iteration(each.step, ended, **each.scalars)

    def seed_every_episode(self) -> None:
        self.seeds_every_episode = True

    rules = rules_of(PARAMS)

    @property
    def envs(self) -> "Finished":
        return self


def checking(training: Finished, keeper: Keeper, log: Log, stop=never) -> Loop:
    return loop(training, keeper, log, stop, replay_check_interval=16)


def test_an_episode_that_replays_differently_is_reported_and_all_are_seeded(
    keeper, log, monkeypatch
):
    monkeypatch.setattr("ppo.replay.replay.verify", wrong)
    training = Finished([16, 32, 48, 64])
    looped = checking(training, keeper, log)
    looped.run()
    assert training.seeds_every_episode
    (said,) = looped.logger.display.said  # though each of four checks found it
    assert (
        "CartPole-v1" in said and "score 3" in said and "every episode begins with a seed" in said
    )


def test_an_episode_that_began_with_a_seed_and_replays_differently_is_reported_once(
    keeper, log, monkeypatch
):
    monkeypatch.setattr("ppo.replay.replay.verify", wrong)
    training = Finished([16, 32, 48, 64])
    training.seeds_every_episode, training.resets = True, 0
    looped = checking(training, keeper, log)
    looped.run()
    (said,) = looped.logger.display.said
    assert "though it began with a seed" in said


def test_an_episode_that_replays_as_recorded_is_not_reported(keeper, log, monkeypatch):
    checked = []
    monkeypatch.setattr("ppo.replay.replay.verify", lambda replay, _: checked.append(replay.seed))
    training = Finished([16, 32, 48, 64])
    looped = checking(training, keeper, log)
    looped.run()
    assert checked and not training.seeds_every_episode and not looped.logger.display.said


def test_a_game_that_cannot_be_replayed_is_not_reported_as_one_that_differs(
    keeper, folder, log, monkeypatch
):
    def nothing(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("ppo.replay.replay.env_at_start", nothing)
    training = Finished([16, 32])
    looped = checking(training, keeper, log)
    looped.run()
    assert not training.seeds_every_episode and not looped.logger.display.said
    assert due_in(checkpoint.newest(folder)) == {"replay_check"}


def test_the_episode_that_is_checked_has_the_most_resets_behind_it(monkeypatch):
    checked = []
    monkeypatch.setattr("ppo.replay.replay.verify", lambda replay, _: checked.append(replay.resets))
    verifier = Verifier(
        PARAMS.model_copy(update={"replay_check_interval": 16}), Finished([]), print
    )
    ended = [replace(episode(), reset=Reset(5, resets)) for resets in (0, 5, 2)]
    verifier.see(iteration(16, *ended))
    verifier.settle(never)
    assert checked == [5]


def test_a_save_that_does_not_wait_for_a_check_wants_it_again(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr("ppo.replay.replay.verify", lambda *_: ended.wait(60))
    verifier = Verifier(
        PARAMS.model_copy(update={"replay_check_interval": 16}), Finished([]), print
    )
    verifier.see(iteration(16, episode()))
    assert verifier.state().wanted
    ended.set()
    verifier.settle(never)
    assert not verifier.state().wanted


def test_a_check_that_falls_due_during_another_one_follows_it(monkeypatch):
    checked = []
    monkeypatch.setattr("ppo.replay.replay.verify", lambda replay, _: checked.append(replay))
    verifier = Verifier(
        PARAMS.model_copy(update={"replay_check_interval": 32}), Finished([]), print
    )
    for step in (32, 64):
        verifier.see(iteration(step, episode()))
    verifier.settle(never)
    verifier.see(iteration(80, episode()))
    verifier.settle(never)
    assert len(checked) == 2 and not verifier.wanted


def test_a_check_that_a_stop_interrupts_is_due_again(keeper, folder, log, monkeypatch):
    def slow(checked, interrupted):
        while not interrupted():
            time.sleep(0.01)
        raise Interrupted

    monkeypatch.setattr("ppo.replay.replay.verify", slow)
    asked = iter([False, True, True])
    checking(Finished([16, 32]), keeper, log, lambda: next(asked)).run()
    assert due_in(checkpoint.newest(folder)) == {"replay_check"}
