"""Observers of a run: log, evaluations, videos of training episodes.

Each sees every iteration and decides by its interval whether it is due.
"""

import math
import resource
import time
from collections.abc import Callable, Mapping

from ppo.envs.catalog import rules_of
from ppo.files import evaluations
from ppo.files.folder import RunFolder
from ppo.files.log import Log, RunningMeans
from ppo.health import Health
from ppo.params import ResolvedParams
from ppo.play import replay
from ppo.play.evaluate import Evaluation, evaluate, store
from ppo.play.recorder import Recorder, step_of
from ppo.policy import Choice, Policy
from ppo.runs.terminal import Display
from ppo.trainer import Iteration


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
        """Play whole games; returns their scalars. Raises Interrupted, and then stays due."""
        evaluation = evaluate(
            self.policy, self.params, self.params.evaluation_games, step, interrupted
        )
        store(self.folder, evaluation, self.params, self.policy, step)
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
        return (
            f"step {step:,}: evaluation {evaluation.mean:.2f} (95 %: {low:.2f} to {high:.2f}), "
            f"best so far {best:.2f}"
        )


class Videographer:
    """Every ``video_interval`` steps, keeps the next episode that ends, as a replay and as a video
    made in the background.
    """

    def __init__(
        self, params: ResolvedParams, choice: Choice, folder: RunFolder, recorder: Recorder
    ):
        """``choice`` is how the policy chooses the actions."""
        self.params, self.choice, self.folder = params, choice, folder
        self.recorder, self.due = recorder, False

    def see(self, iteration: Iteration) -> None:
        """Keep an episode of the iteration, if one is due and one ended."""
        self.due |= iteration.crossed(self.params.video_interval)
        if not (self.due and iteration.episodes):
            return
        self.due = False
        name = f"step-{iteration.step:012d}"
        kept = replay.of_run(
            iteration.episodes[0], self.params, step=iteration.step, policy=self.choice
        )
        self.folder.replays.mkdir(exist_ok=True)
        replay.save(self.folder.replays / f"{name}.json", kept)
        if kept.rules.is_atari:
            self.recorder.record(kept, self.folder.videos / f"{name}.mp4")

    def record_missing(
        self, warn: Callable[[str], None], step: int, pictured: float = math.inf
    ) -> None:
        """Record the videos of episodes up to ``step`` that were abandoned when the run was
        stopped, and again those of episodes after ``pictured``, which the log does not show."""
        if not rules_of(self.params).is_atari:
            return
        for path in sorted(self.folder.replays.glob("step-*.json")):
            movie = self.folder.videos / f"{path.stem}.mp4"
            try:
                kept = replay.load(path)
            except replay.ReplayError as error:
                warn(str(error))
                continue
            missing = not movie.exists() or step_of(kept) > pictured
            if missing and step_of(kept) <= step:
                self.recorder.record(kept, movie)


def _resident_mib() -> float:
    """Resident memory of this process now."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * resource.getpagesize() / 2**20
