"""A table of runs, which a terminal keeps up to date."""

import csv
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from statistics import mean
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ppo.files import origin
from ppo.files.folder import FolderError, RunFolder
from ppo.params import load_run
from ppo.sweep.grid import Run
from ppo.system.streams import duration, is_terminal
from ppo.system.tables import console_of
from ppo.telemetry import figures, progress
from ppo.telemetry.scalars import SCORE

REFRESHES_PER_SECOND = 0.5
SHORTEST_RUN_SECONDS = 1.0  # a run that took less was done already
# Titles and widths of the columns after the name. They keep their place beside a long name.
COLUMNS = {"seed": 4, "done": 6, "score": 7, "steps/s": 7, "left": 11}
GAP = 2  # columns between two cells
OTHER_LINES = 4  # lines of a terminal that are not rows of runs


class Overview:
    """The progress of runs, which ``live`` shows while its context lasts. A terminal ranks the
    active and the ended runs by their scores so far, and printed lines appear above them. A pipe or
    a file gets the lines alone.
    """

    def __init__(self, runs: Sequence[Run], console: Console | None = None):
        self.runs = len(runs)
        self._active: dict[Run, None] = {}
        self._ended: dict[Run, _State | None] = {}
        self._failed: set[Run] = set()
        self._durations: list[float] = []  # of the runs that have ended, in seconds
        self._console = console = console or console_of()
        self.live: AbstractContextManager = nullcontext()
        if console.is_terminal:
            # Unlike a function it is drawn at once; lines printed first then know where it is.
            self.live = Live(
                self,
                console=console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
                redirect_stderr=is_terminal(sys.stderr),
            )

    @contextmanager
    def under_way(self, run: Run) -> Iterator[None]:
        """Mark the run as active while the context lasts."""
        began = time.monotonic()
        self._active[run] = None
        try:
            yield
        finally:
            del self._active[run]
            if time.monotonic() - began > SHORTEST_RUN_SECONDS:
                self._durations.append(time.monotonic() - began)

    def count_end(self, run: Run, failed: bool) -> None:
        """Count a run that has ended, successfully or not."""
        self._failed |= {run} if failed else set()
        self._ended[run] = _state(run)

    def __rich__(self) -> Group:
        """Return what is shown: how many runs have ended, and the runs by their score. If there are
        too few lines, the active runs come first, then the best of the ended ones.
        """
        states = {run: _state(run) for run in list(self._active)}
        ended = dict(self._ended)
        every = [*states.items(), *sorted(ended.items(), key=_rank)]
        rows = sorted(every[: max(1, self._console.height - OTHER_LINES)], key=_rank)
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        table.add_column("run")  # the only column that shrinks
        longest = self._console.width - sum(COLUMNS.values()) - GAP * len(COLUMNS)
        for title, width in COLUMNS.items():
            table.add_column(title, justify="right", no_wrap=True, min_width=width)
        for run, state in rows:
            name = Text(figures.label(run.variant, longest), no_wrap=True, overflow="ellipsis")
            cells = state.cells if state else ["-"] * (len(COLUMNS) - 1)
            if run in ended:
                cells = ["failed" if run in self._failed else "done", cells[1], "", ""]
            table.add_row(name, str(run.seed), *cells)
        summary = Text(self._summary([*states.values()], len(ended)))
        more = [Text(f"and {len(every) - len(rows)} more")] if len(rows) < len(every) else []
        return Group(summary, table, *more)

    def _summary(self, states: "Sequence[_State | None]", ended: int) -> str:
        """Return how many runs ended, and the time left if unknown runs take as long as others."""
        waiting, about = self.runs - ended - len(states), ""
        failed = f" ({len(self._failed)} failed)" if self._failed else ""
        known = [state for state in states if state and math.isfinite(state.seconds)]
        durations = self._durations or [state.seconds for state in known]
        if durations and states:
            whole = mean(durations)
            longest = max([state.left for state in known] + [whole] * (len(known) < len(states)))
            about = f", about {duration(longest + waiting * whole / len(states))} left"
        return f"{ended} of {self.runs} done{failed}, {waiting} waiting{about}"


class _State(NamedTuple):
    """How far a run is, by its files."""

    score: float | None
    seconds: float  # of the whole run
    left: float  # seconds to the end
    cells: list[str]  # the columns after the seed


def _rank(item: "tuple[Run, _State | None]") -> float:
    """Return where a run comes in the table: the best score first, no score last."""
    _, state = item
    return math.inf if state is None or state.score is None else -state.score


def _state(run: Run) -> _State | None:
    """Return the state of a run; None where its files do not say."""
    try:
        row, folder = progress.last_row(run.folder), RunFolder(run.folder)
        # A resume that only logs an evaluation has no speed.
        step, rate = int(row["step"]), float(row["time/fps"] or math.nan)
        begun = began_from.step if (began_from := origin.read(folder)) else 0
        own, ahead = step - begun, max(0, load_run(folder.params).end_from(step) - step)
        score = float(row[SCORE]) if row[SCORE] else None
        shown = "-" if score is None else f"{score:.2f}"
        speed = ["-", "-"] if math.isnan(rate) else [f"{rate:.0f}", duration(ahead / rate)]
        cells = [f"{own / (own + ahead):.0%}", shown, *speed]
        return _State(score, (own + ahead) / rate, ahead / rate, cells)
    except (FolderError, OSError, LookupError, ValueError, ArithmeticError, csv.Error):
        return None
