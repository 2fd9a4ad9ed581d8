"""A run's speed, and its progress: a live panel in a terminal, plain lines in a pipe or file."""

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, NamedTuple, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ppo.files.held import with_names
from ppo.settings import ResolvedParams
from ppo.system.streams import Replacing, discard, duration, wrapped
from ppo.system.tables import console_of
from ppo.telemetry.scalars import SCORE

SPEED_SECONDS = 60.0  # over which the speed is measured
LAST_WORDS_SECONDS = 0.5
NARROW, WIDE = 70, 100  # columns
DAY = 24 * 60 * 60.0  # seconds
TREND, BLOCKS = 40, "▁▂▃▄▅▆▇█"
LINE_SECONDS = 10.0  # between two lines in a pipe or file

# Label, tag and format of each value shown, in two columns of the panel.
SHOWN: tuple[tuple[str, str, str], ...] = (
    ("score, last 100", SCORE, "{:.2f}"),
    ("best game", "rollout/ep_rew_best", "{:.10g}"),
    ("games", "rollout/games", "{:.0f}"),
    ("length in steps", "rollout/ep_len_mean", "{:.0f}"),
    ("approximate KL", "train/approx_kl", "{:.4f}"),
    ("clip fraction", "train/clip_fraction", "{:.3f}"),
    ("entropy", "train/entropy_loss", "{:.3f}"),
    ("explained variance", "train/explained_variance", "{:.3f}"),
    ("value loss", "train/value_loss", "{:.4f}"),
    ("gradient norm", "train/grad_norm", "{:.3f}"),
)


class Speed(NamedTuple):
    """Steps per second, and seconds to the end of the run."""

    steps_per_second: float
    seconds_left: float


class Pace:
    """Measures the speed of a run. Evaluations count by themselves: they are long and rare."""

    def __init__(self, params: ResolvedParams, clock: Callable[[], float] = time.monotonic):
        self.params, self._clock = params, clock
        self._evaluations, self._evaluating = 0, 0.0
        self._marks: deque[tuple[float, int]] = deque()  # time without evaluations, and step

    def mark(self, step: int) -> None:
        """Note that an iteration has ended at this step."""
        now = self._clock() - self._evaluating
        while len(self._marks) > 1 and self._marks[0][0] < now - SPEED_SECONDS:
            self._marks.popleft()
        self._marks.append((now, step))

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        began = self._clock()
        try:
            yield
            self._evaluations += 1
        finally:
            self._evaluating += self._clock() - began

    def speed(self, step: int) -> Speed | None:
        """Return the speed over the last minute, or the last iteration if that took longer, and the
        time for the steps and evaluations after this step. An evaluation ahead is assumed to
        take the mean time of this process's evaluations. The first iteration does not count,
        because it also compiles. Return None if nothing is known.
        """
        if not self._marks:
            return None
        (began, first_step), (now, last_step) = self._marks[0], self._marks[-1]
        if now <= began:
            return None
        rate = (last_step - first_step) / (now - began)
        total, interval = self.params.end_from(step), self.params.evaluation_interval
        # An iteration evaluates once at most.
        iterations = (total - step) // self.params.steps_per_iteration
        ahead = min(total // interval - step // interval, iterations) if interval else 0
        mean = self._evaluating / self._evaluations if self._evaluations else 0.0
        return Speed(rate, max(0, total - step) / rate + ahead * mean)


class _Console(Console):
    """A console that raises BrokenPipeError, where rich would end the process, and shows "?" for
    characters that its output lacks.
    """

    @property  # type: ignore[misc]  # nobody sets it
    def file(self) -> IO[str]:
        return cast(IO[str], Replacing(super().file))

    def on_broken_pipe(self) -> None:
        raise  # called while the error is handled


class Display:
    """Show the progress of a run. Once its output fails, as a closed pipe does, be silent."""

    def __init__(
        self,
        title: str,
        total_steps: int,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.title, self.total_steps, self._clock = title, total_steps, clock
        self._last_line = -math.inf
        self._scores: list[float] = []  # of the panels so far
        self.console = console or console_of(kind=_Console)
        self._live = Live(console=self.console, auto_refresh=False, transient=False)
        self._live_started = False

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            with self._quiet_once_it_fails():
                self._live.start()
                self._live_started = True
                self._live.update(self._framed("collecting the first rollout"), refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the display. May be called more than once."""
        if self._live_started:
            with self._quiet_once_it_fails():
                self._live.stop()

    def end(self, message: str) -> None:
        """End with a message, from any thread. The message is lost if the output blocks, as in a
        halted terminal, where the main thread waits too.
        """

        def last_words() -> None:
            self.__exit__()
            self.say(message)

        speaker = threading.Thread(target=last_words, daemon=True)
        speaker.start()
        speaker.join(LAST_WORDS_SECONDS)

    def say(self, message: str) -> None:
        """Print a message above the panel. Each held folder is shown under its own name."""
        message = with_names(message)
        if self.console.is_terminal:
            message = wrapped(message, self.console.width)
        with self._quiet_once_it_fails():
            self.console.print(message, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def show(
        self, step: int, scalars: Mapping[str, float], speed: Speed | None, is_last: bool
    ) -> None:
        """Show the run's progress at a step. ``speed`` is None if it is unknown. A pipe or a file
        gets a line at the first and the last step, and at most one every LINE_SECONDS between.
        """
        now, values = self._clock(), {label: _value(tag, scalars, f) for label, tag, f in SHOWN}
        if self.console.is_terminal:
            if math.isfinite(score := scalars.get(SCORE, math.nan)):
                self._scores.append(score)
            with self._quiet_once_it_fails():
                self._live.update(self._panel(step, values, speed), refresh=True)
        elif is_last or now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            self.say(f"{time.strftime('%H:%M:%S')} {self._line(step, values, speed)}")

    @contextmanager
    def _quiet_once_it_fails(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self.console.quiet = True
            discard(self.console.file)

    def _framed(self, content: RenderableType) -> Group:
        # The empty last line takes the ^C that a terminal shows, which would else scroll the panel.
        title = self.title
        while len(title) > self.console.width - 6 and " · " in title:  # the folder is last
            title = title.partition(" · ")[2]
        return Group(Panel(content, title=Text(title)), "")

    def _panel(self, step: int, values: Mapping[str, str], speed: Speed | None) -> Group:
        head = Table.grid(expand=True)
        head.add_row(ProgressBar(total=self.total_steps, completed=min(step, self.total_steps)))
        share, time_left, *others = self._progress(step, speed)
        half = (len(values) + 1) // 2
        if speed:
            clock = "%H:%M" if speed.seconds_left < DAY else "%a %d %b %Y, %H:%M"
            end = time.localtime(time.time() + speed.seconds_left)
            time_left += f", ends {time.strftime(clock, end)}"
        # The table is as narrow as possible, so labels stay near their values.
        table = Table.grid(padding=(0, 2 if self.console.width < NARROW else 3))
        for justify in ("left", "right", "left", "right"):
            table.add_column(justify=justify)
        cells = list(values.items())
        for left, right in itertools.zip_longest(cells[:half], cells[half:], fillvalue=("", "")):
            table.add_row(*left, *right)
        between = "\n" if self.console.width < WIDE else " | "
        head.add_row(Text(f"{share} % | {time_left}{between}{' | '.join(others)}"))
        if len(self._scores) > 1:
            head.add_row(Text(f"score so far {_trend(self._scores)}"))
        return self._framed(Group(head, "", table))

    def _line(self, step: int, values: Mapping[str, str], speed: Speed | None) -> str:
        share, left, steps, per_second = self._progress(step, speed)
        return (
            f"{steps} ({share} %) | {per_second} | {left} | score {values['score, last 100']} "
            f"best {values['best game']} games {values['games']} | KL {values['approximate KL']} "
            f"clipped {values['clip fraction']} entropy {values['entropy']} "
            f"explained variance {values['explained variance']}"
        )

    def _progress(self, step: int, speed: Speed | None) -> tuple[str, str, str, str]:
        """Return the percentage, the time left, the steps and the speed."""
        left = duration(speed.seconds_left) if speed else "?"
        return (
            f"{100 * step / self.total_steps:.1f}",
            f"{left} left",
            f"step {step:,} of {self.total_steps:,}",
            f"{speed.steps_per_second:.0f} steps/s" if speed else "? steps/s",
        )


def _trend(scores: Sequence[float]) -> str:
    """Return blocks as high as the scores, at most TREND of them, evenly chosen."""
    count = min(TREND, len(scores))
    chosen = [scores[round(n * (len(scores) - 1) / (count - 1))] for n in range(count)]
    low, high = min(chosen), max(chosen)
    share = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((score - low) * share)] for score in chosen)


def _value(tag: str, scalars: Mapping[str, float], form: str) -> str:
    if tag not in scalars:
        return "-"
    # The loss is minus the entropy, and the entropy is shown.
    value = 0.0 - scalars[tag] if tag == "train/entropy_loss" else scalars[tag]
    return form.format(value)
