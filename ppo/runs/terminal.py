"""A run's progress: a live panel in a terminal, plain lines in a pipe or file."""

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ppo.files.held import shown
from ppo.system.streams import discard

LAST_WORDS_SECONDS = 0.5

# Label, tag and format of each value shown, in two columns of the panel.
SHOWN: tuple[tuple[str, str, str], ...] = (
    ("score, last 100 games", "rollout/ep_rew_mean", "{:.2f}"),
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


class _Console(Console):
    """A console that raises BrokenPipeError, where rich would end the process."""

    def on_broken_pipe(self) -> None:
        raise  # called while the error is handled


class Display:
    """Show the progress of a run. If its output fails, such as a closed pipe, the display becomes
    silent and the run continues.
    """

    def __init__(self, title: str, total_steps: int, console: Console | None = None):
        self.title, self.total_steps = title, total_steps
        self.console = console or _Console()
        self._live = Live(console=self.console, auto_refresh=False, transient=False)
        self._live_started = False

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            with self._quiet_once_it_fails():
                self._live.start()
                self._live_started = True
                self._live.update(
                    Panel("playing the first rollout", title=Text(self.title)), refresh=True
                )
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
        message = shown(message)
        with self._quiet_once_it_fails():
            self.console.print(message, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def show(self, step: int, scalars: Mapping[str, float], rate: float) -> None:
        """Show the run's progress at a step. The remaining time follows from ``rate``, the steps
        per second including evaluations. The rate in the last entry may be without one.
        """
        if self.console.is_terminal:
            with self._quiet_once_it_fails():
                self._live.update(self._panel(step, scalars, rate), refresh=True)
        else:
            self.say(self._line(step, scalars, rate))

    @contextmanager
    def _quiet_once_it_fails(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self.console.quiet = True
            discard(self.console.file)

    def _panel(self, step: int, scalars: Mapping[str, float], rate: float) -> Panel:
        head = Table.grid(padding=(0, 2), expand=True)
        head.add_column(ratio=1)
        head.add_column(justify="right", no_wrap=True)
        bar = ProgressBar(total=self.total_steps, completed=min(step, self.total_steps))
        head.add_row(bar, self._progress(step, scalars, rate))
        cells = [(label, _magnitude(tag, scalars, form)) for label, tag, form in SHOWN]
        table = Table.grid(padding=(0, 3))  # as narrow as possible: labels stay near their values
        for justify in ("left", "right", "left", "right"):
            table.add_column(justify=justify)
        half = (len(cells) + 1) // 2
        for left, right in itertools.zip_longest(cells[:half], cells[half:], fillvalue=("", "")):
            table.add_row(*left, *right)
        return Panel(Group(head, "", table), title=Text(self.title))

    def _line(self, step: int, scalars: Mapping[str, float], rate: float) -> str:
        shown = {label: _magnitude(tag, scalars, form) for label, tag, form in SHOWN}
        return (
            f"{self._progress(step, scalars, rate)} | score {shown['score, last 100 games']} "
            f"best {shown['best game']} games {shown['games']} | KL {shown['approximate KL']} "
            f"clipped {shown['clip fraction']} entropy {shown['entropy']} "
            f"explained variance {shown['explained variance']}"
        )

    def _progress(self, step: int, scalars: Mapping[str, float], rate: float) -> str:
        left = timedelta(seconds=round((self.total_steps - step) / rate)) if rate else "?"
        share, speed = 100 * step / self.total_steps, scalars.get("time/fps", 0.0)
        return (
            f"step {step:,} of {self.total_steps:,} ({share:.1f} %) | {speed:.0f} steps/s | "
            f"{left} left"
        )


def _magnitude(tag: str, scalars: Mapping[str, float], form: str) -> str:
    if tag not in scalars:
        return "-"
    # The loss is minus the entropy, and the entropy is shown.
    value = 0.0 - scalars[tag] if tag == "train/entropy_loss" else scalars[tag]
    return form.format(value)
