"""A table of runs, which a terminal keeps up to date."""

import csv
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, TypeAdapter
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ppo.files.folder import RunFolder
from ppo.sweep.grid import Run
from ppo.system import reading
from ppo.telemetry import progress
from ppo.telemetry.scalars import SCORE

REFRESHES_PER_SECOND = 0.5
# Titles and widths of the columns after the name. They keep their place beside a long name.
COLUMNS = {"seed": 4, "step": 10, "of": 10, "score": 7, "steps/s": 7, "left": 8}
OTHER_LINES = 4  # lines of a terminal that are not rows of runs


class Overview:
    """Show progress while the context lasts. A terminal shows the active runs and the number of
    ended runs, and printed lines appear above them. A pipe or a file gets the lines alone.
    """

    def __init__(self, runs: Sequence[Run], console: Console | None = None):
        self.runs = len(runs)
        self.ended = self.failed = 0
        self._lock = threading.Lock()
        self._under_way: dict[Path, Run] = {}
        self._console = console = console or Console()
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
        self._under_way[run.folder] = run
        try:
            yield
        finally:
            del self._under_way[run.folder]

    def count_end(self, failed: bool) -> None:
        """Count a run that has ended, successfully or not."""
        with self._lock:
            self.ended += 1
            self.failed += failed

    def table(self) -> Group:
        """Return what is shown: how many runs have ended, and as many active runs as there are
        lines.
        """
        under_way = list(self._under_way.values())
        rows = under_way[: max(1, self._console.height - OTHER_LINES)]
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column("run")  # the only column that shrinks
        for title, width in COLUMNS.items():
            table.add_column(title, justify="right", no_wrap=True, min_width=width)
        for run in rows:
            name = Text(run.variant, no_wrap=True, overflow="ellipsis")
            table.add_row(name, str(run.seed), *_cells(run))
        parts: list[RenderableType] = [Text(self._said(len(under_way))), table]
        if len(rows) < len(under_way):
            parts.append(Text(f"and {len(under_way) - len(rows)} more"))
        return Group(*parts)

    def _said(self, under_way: int) -> str:
        waiting = self.runs - self.ended - under_way
        failed = f", {self.failed} of them not well" if self.failed else ""
        return f"{self.ended} of {self.runs} runs have ended{failed}; {waiting} wait"


class _Settings(BaseModel):
    total_steps: int


def _cells(run: Run) -> list[str]:
    """Return the state of a run from its files, with a dash where they do not say."""
    folder = RunFolder(run.folder)
    try:
        total = reading.value(folder.params, TypeAdapter(_Settings)).total_steps
        row = progress.last_row(run.folder)
        step, rate = int(row["step"]), float(row["time/fps"])
        left = timedelta(seconds=round(max(0, total - step) / rate))
        score = f"{float(row[SCORE]):.2f}" if row[SCORE] else "-"
    except (OSError, LookupError, ValueError, ArithmeticError, csv.Error):
        return ["-"] * (len(COLUMNS) - 1)
    return [f"{step:,}", f"{total:,}", score, f"{rate:.0f}", str(left)]
