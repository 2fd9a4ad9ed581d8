"""Observers of a run: log, evaluations, videos of training episodes.

Each sees every iteration and decides by its interval whether it is due.
"""

import math
import re
import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ppo.envs.catalog import rules_of
from ppo.errors import NotFinite, ScoreNotFinite
from ppo.files import evaluations
from ppo.files.evaluations import EvaluationsError
from ppo.files.folder import RunFolder
from ppo.files.health import Health
from ppo.files.log import Log, RunningMeans
from ppo.play import replay
from ppo.play.evaluate import Evaluation, evaluate
from ppo.play.recorder import Recorder
from ppo.policy import Choice, Policy
from ppo.process.signals import Interrupted
from ppo.runs.terminal import Display
from ppo.settings import ResolvedParams
from ppo.trainer import Iteration

# The names of replays of training episodes.
TRAINING = re.compile(r"step-\d{12,}-to-(?P<last>\d{12,})-(?P<score>.+)")
UNTRAINED_FRAMES = 18_000  # five minutes; a policy that knows nothing may play for ever


class Logger:
    """Averages scalars, and writes an entry into log and terminal every ``log_interval`` steps."""

    def __init__(self, log: Log, display: Display, interval: int, step: int):
        self.log, self.display, self.interval = log, display, interval
        self.means, self.due, self.health = RunningMeans(), False, Health()
        self._first = self._last = step, time.perf_counter()

    def see(self, iteration: Iteration) -> None:
        """Add its scalars to the means."""
        self.means.add(iteration.scalars)
        self.due |= iteration.crossed(self.interval)

    def write(self, step: int, totals: Mapping[str, float]) -> None:
        """Write an entry: the means since the last one, and the totals."""
        last_step, last_time = self._last
        now = time.perf_counter()
        self._last = step, now
        scalars = self.means.take() | dict(totals)
        if step > last_step:  # not of an entry that a stop had interrupted
            scalars["time/fps"] = (step - last_step) / (now - last_time)
        scalars["system/rss_mb"] = _resident_mib()
        self.log.write(step, scalars)
        first_step, first_time = self._first
        self.display.show(step, scalars, (step - first_step) / (now - first_time))
        for message in self.health.see(scalars):
            self.display.say(f"step {step:,}: {message}")
        self.due = False


class Evaluator:
    """Evaluates the policy every ``evaluation_interval`` steps."""

    def __init__(
        self,
        policy: Policy,
        params: ResolvedParams,
        folder: RunFolder,
        say: Callable[[str], None],
    ):
        self.policy, self.params, self.folder, self.say = policy, params, folder, say
        self.due = False
        self._last: tuple[int, float] | None = None  # step and mean score

    def see(self, iteration: Iteration) -> None:
        """Note whether an evaluation is due."""
        self.due |= iteration.crossed(self.params.evaluation_interval)

    def evaluate(self, step: int, interrupted: Callable[[], bool]) -> dict[str, float]:
        """Play whole games; returns their scalars, none if a score is not finite. Raises
        Interrupted, and then stays due.
        """
        games = self.params.evaluation_games
        try:
            evaluation = evaluate(self.policy, self.params, games, step, interrupted)
        except ScoreNotFinite as error:
            self.say(f"step {step:,}: {error}")
            self.due = False
            return {}
        try:
            evaluations.add(self.folder, evaluation.record(self.params, self.policy, step))
        except EvaluationsError as error:
            self.say(f"step {step:,}: the evaluation is not stored: {error}")
        self.say(self._told(step, evaluation))
        self._last = step, evaluation.mean
        self.due = False
        normalized = evaluation.human_normalized(self.params)
        return {
            "eval/mean_reward": evaluation.mean,
            "eval/mean_ep_length": evaluation.mean_steps,
            **({} if normalized is None else {"eval/human_normalized": normalized}),
        }

    def score_at(self, step: int) -> float | None:
        """The mean score of the evaluation at a step, if there was one."""
        return self._last[1] if self._last and self._last[0] == step else None

    def _told(self, step: int, evaluation: Evaluation) -> str:
        low, high = evaluation.interval()
        best = evaluations.best(self.folder, self.policy.choice, step)
        best = evaluation.mean if best is None else best
        told = (
            f"step {step:,}: evaluation {evaluation.mean:.2f} (95 %: {low:.2f} to {high:.2f}), "
            f"best so far {best:.2f}"
        )
        if limited := evaluation.time_limited:
            told += f"; the time limit ended {limited} of {len(evaluation.episodes)} games"
        return told


class Videographer:
    """Keeps a game of the untrained policy and, every ``video_interval`` steps, the next episode
    that ends: each as a replay, and as a video that is made in the background.
    """

    def __init__(
        self, params: ResolvedParams, choice: Choice, folder: RunFolder, recorder: Recorder
    ):
        """``choice`` is how the policy chooses the actions."""
        self.params, self.choice, self.folder = params, choice, folder
        self.recorder, self.due = recorder, False

    def begin(self, policy: Policy, interrupted: Callable[[], bool]) -> None:
        """Before the first iteration, keep a game of the untrained policy."""
        rules, name = rules_of(self.params), "step-000000000000-untrained"
        known = any(self.folder.replays.glob(f"{name}*.json"))
        if known or not (self.params.video_interval and rules.is_atari):
            return
        frames = min(rules.max_frames_per_game, UNTRAINED_FRAMES)
        params = self.params.model_copy(update={"max_frames_per_game": frames})
        try:
            (episode,) = evaluate(policy, params, 1, 0, interrupted).episodes
        except (Interrupted, NotFinite):  # what the training then meets, too
            return
        kept = replay.of_run(episode, params, **self._told(0))
        self._keep(f"{name}-{kept.score_name}", kept)

    def see(self, iteration: Iteration) -> None:
        """Keep an episode of the iteration, if one is due and one ended."""
        self.due |= iteration.crossed(self.params.video_interval)
        if not (self.due and iteration.episodes):
            return
        self.due = False
        episode, last = iteration.episodes[0], iteration.ended_at[0]
        first = max(0, last - episode.steps * self.params.num_envs * self.params.workers)
        told = self._told(iteration.step) | {replay.FIRST: first, replay.LAST: last}
        kept = replay.of_run(episode, self.params, **told)
        self._keep(f"step-{first:012d}-to-{last:012d}-{kept.score_name}", kept)

    def record_missing(
        self, warn: Callable[[str], None], step: int, pictured: float = math.inf
    ) -> None:
        """Record the videos of episodes up to ``step`` that were abandoned when the run was
        stopped, and again those of episodes after ``pictured``, which the log does not show."""
        if not rules_of(self.params).is_atari:
            return
        found = []
        for path in sorted(self.folder.replays.glob("step-*.json")):
            try:
                found.append((replay.load(path, self.params.env_id), self._video(path.stem)))
            except replay.ReplayError as error:
                warn(str(error))
        for kept, movie in sorted(found, key=lambda one: replay.step_of(one[0])):
            missing = not movie.exists() or replay.step_of(kept) > pictured
            if missing and replay.step_of(kept) <= step:
                self.recorder.record(kept, movie)

    def cut(self, step: int) -> None:
        """Remove the episodes of steps after ``step``, which a resumed run makes again, and perhaps
        otherwise; what has another name was not made by the run.
        """
        for path in self.folder.replays.glob("step-*-to-*.json"):
            named = TRAINING.fullmatch(path.stem)
            if not named or int(named["last"]) <= step:
                continue
            with suppress(replay.ReplayError):  # record_missing says what is wrong with it
                if replay.load(path, self.params.env_id).score_name == named["score"]:
                    self._video(path.stem).unlink(missing_ok=True)
                    path.unlink()

    def _keep(self, name: str, kept: replay.Replay) -> None:
        self.folder.replays.mkdir(exist_ok=True)
        replay.save(self.folder.replays / f"{name}.json", kept)
        if kept.rules.is_atari:
            self.recorder.record(kept, self._video(name))

    def _told(self, step: int) -> dict[str, object]:
        return {"step": step, "policy": self.choice}

    def _video(self, name: str) -> Path:
        return self.folder.videos / f"{name}.mp4"


def _resident_mib() -> float:
    """Resident memory of this process now."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * resource.getpagesize() / 2**20
