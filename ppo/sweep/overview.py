"""A table of runs, which a terminal keeps up to date."""

import csv
import math
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ppo.files.folder import RunFolder
from ppo.params import load_run
from ppo.sweep.grid import Run
from ppo.system.streams import duration
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
    """Show progress while the context lasts. A terminal ranks the active and the ended runs by
    their scores so far, and printed lines appear above them. A pipe or a file gets the lines alone.
    """

    def __init__(self, runs: Sequence[Run], console: Console | None = None):
        self.runs = len(runs)
        self._lock = threading.Lock()
        self._under_way: dict[Path, Run] = {}
        self._ended: dict[Run, _State | None] = {}
        self._failed: set[Run] = set()
        self._durations: list[float] = []  # of the runs that have ended, in seconds
        self._console = console = console or console_of()
        self._live = (
            Live(
                get_renderable=self.table,
                console=console,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
                redirect_stderr=sys.stderr.isatty(),
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "Overview":
        if self._live:
            self._live.start(refresh=True)  # lines printed first then know where it is
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    @contextmanager
    def under_way(self, run: Run) -> Iterator[None]:
        """Mark the run as active while the context lasts."""
        began = time.monotonic()
        self._under_way[run.folder] = run
        try:
            yield
        finally:
            del self._under_way[run.folder]
            if time.monotonic() - began > SHORTEST_RUN_SECONDS:
                self._durations.append(time.monotonic() - began)

    def count_end(self, run: Run, failed: bool) -> None:
        """Count a run that has ended, successfully or not."""
        state = _state(run)
        with self._lock:
            self._ended[run] = state
            self._failed |= {run} if failed else set()

    def table(self) -> Group:
        """Return what is shown: how many runs have ended, and the runs by their score. If there are
        too few lines, the active runs come first, then the best of the ended ones.
        """
        states = {run: _state(run) for run in list(self._under_way.values())}
        with self._lock:
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
        summary = self._summary(list(states.values()), len(ended))
        parts: list[RenderableType] = [Text(summary), table]
        if len(rows) < len(every):
            parts.append(Text(f"and {len(every) - len(rows)} more"))
        return Group(*parts)

    def _summary(self, states: "Sequence[_State | None]", ended: int) -> str:
        waiting = self.runs - ended - len(states)
        failed = f" ({len(self._failed)} failed)" if self._failed else ""
        left = self._left([state for state in states if state], len(states), waiting)
        about = "" if left is None else f", about {duration(left)} left"
        return f"{ended} of {self.runs} done{failed}, {waiting} waiting{about}"

    def _left(self, known: "Sequence[_State]", places: int, waiting: int) -> float | None:
        """Return the seconds to the end of all runs, if the unknown ones take as long as others."""
        durations = self._durations or [state.total / state.rate for state in known]
        if not durations or not places:
            return None
        whole = mean(durations)
        active = [state.left for state in known] + [whole] * (places - len(known))
        return max(active) + waiting * whole / places


class _State(NamedTuple):
    """How far a run is, by its files."""

    step: int
    total: int
    score: float | None
    rate: float

    @property
    def left(self) -> float:
        """Seconds to the end."""
        return max(0, self.total - self.step) / self.rate

    @property
    def cells(self) -> list[str]:
        """The columns after the seed."""
        share = f"{self.step / self.total:.0%}" if self.total else "-"
        score = "-" if self.score is None else f"{self.score:.2f}"
        return [share, score, f"{self.rate:.0f}", duration(self.left)]


def _rank(item: "tuple[Run, _State | None]") -> float:
    """Return where a run comes in the table: the best score first, no score last."""
    _, state = item
    return math.inf if state is None or state.score is None else -state.score


def _state(run: Run) -> _State | None:
    """Return the state of a run; None where its files do not say."""
    try:
        row = progress.last_row(run.folder)
        step, rate = int(row["step"]), float(row["time/fps"])
        total = load_run(RunFolder(run.folder).params).end_from(step)
        score = float(row[SCORE]) if row[SCORE] else None
        state = _State(step, total, score, rate)
        return state if math.isfinite(state.left) else None
    except (OSError, LookupError, ValueError, ArithmeticError, csv.Error):
        return None
