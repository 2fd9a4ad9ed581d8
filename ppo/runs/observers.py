"""What a run does besides training: the protocol of its observers, and three of them: its log, its
evaluations, and a function of the user.
"""

import math
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, FiniteFloat

from ppo.checkpoint import Checkpoint, State
from ppo.errors import Diverged, NotFinite, ScoreNotFinite
from ppo.evaluate.evaluate import evaluate
from ppo.files import evaluations
from ppo.files.folder import FolderError, RunFolder
from ppo.policy import Policy
from ppo.runs.terminal import Display, Pace
from ppo.settings import ResolvedParams
from ppo.telemetry import scalars
from ppo.telemetry.counters import Count
from ppo.telemetry.health import Health
from ppo.telemetry.log import Aggregates, Log, cut
from ppo.telemetry.scalars import TIME
from ppo.trainer import Iteration, Trainer


class DueState(State):
    """The state of an observer without a state class of its own."""

    due: bool = False
    wanted: bool = False


class Observer:
    """Sees each iteration of a run, and acts when the observer itself is ``due``. Videos and replay
    checks are ``wanted`` instead: ``see`` starts them with the next episode that ends.

    A checkpoint contains its state under its ``name``; without a name it has no state. A run is not
    done while an observer is due. If an observer ``saves``, the run's state is saved after it acts.
    Before such an observer acts, the state is kept in memory, to be saved if the process must end.
    """

    name = ""
    saves = False
    due = wanted = False
    interval = 0  # steps between its actions; 0 if the settings switch it off

    def see(self, iteration: Iteration) -> None:
        """Note an iteration. Work that a stop should interrupt belongs in ``act``."""
        self.due |= iteration.crossed(self.interval)

    def act(self, step: int, stop: Callable[[], bool]) -> None:
        """Do what is due. On a request to stop, raise Interrupted and stay due."""

    def settle(self, stop: Callable[[], bool]) -> None:
        """Finish work that the next checkpoint relies on, or abandon it on a request to stop."""

    def state(self) -> State:
        """Return the state that ``restore`` continues from, except ``arrays``."""
        return DueState(due=self.due, wanted=self.wanted)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the state, under names unique to this observer."""
        return {}

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint, unless ``interval`` is now 0. Raises CheckpointError for a
        state that no run wrote.
        """
        state = saved.part(self.name, DueState)
        if self.interval:
            self.due, self.wanted = state.due, state.wanted


class LogState(State):
    """The state of the log: sums and counts of its aggregates, and the sizes of its files."""

    due: bool = False
    means: dict[str, tuple[FiniteFloat, Count]] = Field(default_factory=dict)
    sizes: dict[str, Count] = Field(default_factory=dict)


class Logger(Observer):
    """Aggregate scalars, and write an entry to log and terminal every ``log_interval`` steps."""

    name = "log"
    log: Log  # set by ``open``

    def __init__(
        self,
        trainer: Trainer,
        folder: RunFolder,
        display: Display,
        pace: Pace,
        seconds: Callable[[], float],
        copy: Callable[[int, Mapping[str, float]], None],
    ):
        """Prepare the log. ``seconds`` is the run's clock; ``copy`` gets each entry."""
        self.trainer, self.folder, self.display, self.pace = trainer, folder, display, pace
        self.seconds = seconds
        self.copy, self.means, self.health = copy, Aggregates(), Health(trainer.params)
        self._sizes: dict[str, int] = {}
        self._last = trainer.step, time.perf_counter()

    def open(self, changed: bool) -> None:
        """Cut the files to the restored state; write the settings if ``changed`` or new."""
        trainer, params = self.trainer, self.trainer.params
        cut(self.folder.path, self._sizes)
        epochs = params.num_epochs if params.log_epochs else 0
        tags = scalars.tags(epochs, trainer.updater.layers, trainer.envs.action_names)
        self.log = Log(self.folder.path, tags, trainer.step + 1)
        if lacking := self.log.lacking:
            self.display.say(lacking)
        if changed or not self._sizes:
            self.log.settings(trainer.step, dict(params))
        known = {tag: sum_ for tag, sum_ in self.means.sums.items() if tag in self.log.tags}
        self.means = Aggregates(known)
        self._last = trainer.step, time.perf_counter()

    def see(self, iteration: Iteration) -> None:
        self.means.add(iteration.scalars)
        self.pace.mark(iteration.step)
        self.due |= iteration.crossed(self.trainer.params.log_interval) or self.trainer.finished

    def include(self, scalars: Mapping[str, float]) -> None:
        """Write an entry after this iteration, with additional scalars."""
        self.means.add(scalars)
        self.due = True

    def act(self, step: int, stop: Callable[[], bool]) -> None:
        """Write an entry: the scalars since the last one, and the run's totals."""
        (last_step, last_time), now = self._last, time.perf_counter()
        self._last = step, now
        self.means.add({"system/rss_mb": _resident_mib()})
        elapsed = {TIME: self.seconds()}
        scalars = self.means.take() | self.trainer.totals() | elapsed
        if step > last_step:  # a resume may write a due entry before a step
            scalars["time/fps"] = (step - last_step) / (now - last_time)
        self.log.write(step, scalars)
        self.copy(step, scalars)
        self.display.show(step, scalars, self.pace.speed(step), self.trainer.finished)
        for message in self.health.see(scalars):
            self.display.say(f"step {step:,}: {message}")
        self.due = False

    def settle(self, stop: Callable[[], bool]) -> None:
        self.log.sync()

    def state(self) -> LogState:
        sizes = self.log.sizes() if hasattr(self, "log") else {}
        return LogState(due=self.due, means=dict(self.means.sums), sizes=sizes)

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint, once the log is opened."""
        known = saved.part(self.name, LogState)
        self.means, self.due, self._sizes = Aggregates(known.means), known.due, known.sizes


# Scalars of an evaluation, by their names in its record.
EVALUATION_TAGS = {
    "mean": "eval/mean_reward",
    "mean_length": "eval/mean_ep_length",
    "human_normalized": "eval/human_normalized",
}


@dataclass(eq=False)
class Evaluator(Observer):
    """Evaluate the policy every ``evaluation_interval`` steps. ``include`` adds the scalars of an
    evaluation to the log.
    """

    name, saves = "evaluation", True

    policy: Policy
    params: ResolvedParams
    folder: RunFolder
    pace: Pace
    say: Callable[[str], None]
    include: Callable[[Mapping[str, float]], None]
    _last: tuple[int, float] | None = field(default=None, init=False)  # step and mean score

    def __post_init__(self) -> None:
        self.interval = self.params.evaluation_interval

    def act(self, step: int, stop: Callable[[], bool]) -> None:
        """Play whole games, and log their scalars, or none if a score is not finite. Raises
        Interrupted, and Diverged.
        """
        games = self.params.evaluation_games
        try:
            with self.pace.evaluation():
                evaluation = evaluate(self.policy, self.params, games, step, stop)
        except ScoreNotFinite as error:
            self.say(f"step {step:,}: {error}")
            self.due = False
            return self.include({})
        except NotFinite as error:
            raise Diverged(step, {"observations": error.observations}) from error
        record = evaluation.record(self.params, self.policy, step)
        try:
            evaluations.add(self.folder, record)
        except (FolderError, OSError) as error:
            self.say(f"step {step:,}: the evaluation is not stored: {error}")
        self.say(self._message(record))
        self._last, self.due = (step, evaluation.mean), False
        self.include({tag: record[name] for name, tag in EVALUATION_TAGS.items() if name in record})

    def score_at(self, step: int) -> float | None:
        """Return the mean score of the evaluation at a step, if there was one."""
        return self._last[1] if self._last and self._last[0] == step else None

    def _message(self, record: Mapping[str, Any]) -> str:
        step, mean, interval = record["step"], record["mean"], evaluations.interval(record)
        best = evaluations.best(self.folder, self.params, self.policy.choice, step)
        best = mean if best is None else max(mean, best)  # this one may not be stored
        shown = f" (95 %: {interval})" if interval else ""
        message = f"step {step:,}: evaluation {mean:.2f}{shown}, best so far {best:.2f}"
        if limited := record["time_limited"]:
            message += f"; the time limit ended {limited} of {len(record['scores'])} games"
        return message


Callback = Callable[[Iteration], bool | None]


@dataclass(eq=False)
class CallbackObserver(Observer):
    """Call a function of the user after each iteration, with the run's totals among the scalars.
    Once it returns False or raises an error, even SystemExit, the run ``stops`` as on request.
    """

    trainer: Trainer
    callback: Callback | None
    stop: Callable[[], bool]
    ends: bool = False
    error: BaseException | None = None

    def see(self, iteration: Iteration) -> None:
        if self.callback is None:
            return
        scalars = iteration.scalars | self.trainer.totals()
        try:
            answer = self.callback(replace(iteration, scalars=scalars))
            self.ends = isinstance(answer, bool | np.bool_) and not answer
        except BaseException as error:
            self.ends, self.error = True, error

    def stops(self) -> bool:
        """Whether to stop, on request or by the function."""
        return self.ends or self.stop()


def _resident_mib() -> float:
    """Return the resident memory of this process in MiB; NaN if the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return math.nan
    return pages * resource.getpagesize() / 2**20
