"""Scalars of a run: aggregated since the last log entry, for TensorBoard and as CSV."""

import codecs
import csv
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo.files.atomic import naming, unshare, write_whole
from ppo.files.folder import EVENTS, PROGRESS, FolderError, RunFolder
from ppo.system import reading, tables
from ppo.telemetry import hparams, progress
from ppo.telemetry.events import EventFile, GrowingFile, is_own
from ppo.telemetry.scalars import metric_of


class Aggregates:
    """The scalars of the next log entry. Most are means since the last ``take``. A scalar whose
    Metric names a ``peak`` has its value from the update in which that peak was largest. Values
    that are not finite are skipped. ``Aggregates(sums)`` continues from another's ``sums``.
    """

    def __init__(self, sums: Mapping[str, tuple[float, int]] | None = None):
        self.sums = {tag: (total, n) for tag, (total, n) in (sums or {}).items() if n}

    def add(self, scalars: Mapping[str, float]) -> None:
        before = self._means()
        for tag, value in scalars.items():
            total, count = self.sums.get(tag, (0.0, 0))
            metric = metric_of(tag)
            if metric.peak:
                peak = tag if metric.peak == metric.tag else metric.peak
                # Only a larger peak replaces the value; a NaN or missing peak compares as false.
                if before.get(peak, -math.inf) < scalars.get(peak, math.nan) < math.inf:
                    self.sums[tag] = value, 1
            elif math.isfinite(total + value):
                self.sums[tag] = total + value, count + 1

    def take(self) -> dict[str, float]:
        means, self.sums = self._means(), {}
        return means

    def _means(self) -> dict[str, float]:
        return {tag: total / count for tag, (total, count) in self.sums.items()}


class CsvFile(GrowingFile):
    """A CSV with a fixed header; a missing scalar is an empty cell."""

    def __init__(self, path: Path, columns: Sequence[str]):
        """Append to an existing file, and keep its header. ``left_out`` lists the columns that it
        lacks. An action's share may have a longer name now: "actions/share_0_NOOP" was
        "actions/share_0".
        """
        header, ends = progress.header(path)
        unshare(path)
        self._tags = [_completed(name, columns) for name in header or columns]
        self.left_out = [name for name in columns if name not in self._tags]
        file = open(path, "a", encoding="utf-8", newline="")  # noqa: SIM115 (close does it)
        super().__init__(path, file)
        if not ends:  # edited by hand: the next row would join the last one
            self._file.write("\n")
        if not header:
            self._append(columns)

    def row(self, scalars: Mapping[str, float]) -> None:
        numbers = (scalars.get(tag, "") for tag in self._tags)
        self._append([str(x) if isinstance(x, int | str) else repr(float(x)) for x in numbers])

    def _append(self, cells: Sequence[str]) -> None:
        with naming(self.path):
            csv.writer(self._file, lineterminator="\n").writerow(cells)
            self._file.flush()


def _completed(name: str, columns: Sequence[str]) -> str:
    """Return the present name of a column: an action's share may have had only its number."""
    if name in columns or not re.fullmatch(r"actions/share_\d+", name):
        return name
    return next((column for column in columns if column.startswith(f"{name}_")), name)


class Log:
    """A run's scalars: ``progress.csv`` has all, TensorBoard lacks those that are rarely needed."""

    def __init__(self, folder: Path, tags: Sequence[str], first_step: int):
        """``tags`` are the names of all scalars that the run may write."""
        self.tags = frozenset(tags)
        descriptions = {tag: metric_of(tag).description for tag in tags}
        self._csv_only = {tag for tag in tags if metric_of(tag).csv_only}
        self._earlier = _files(folder)
        self._csv = CsvFile(folder / PROGRESS, ["step", *tags])
        self._events = EventFile(folder, first_step, descriptions)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write one entry. Raises KeyError for an unknown scalar, before anything is written."""
        if unknown := scalars.keys() - self.tags:
            raise KeyError(f"{sorted(unknown)} are not among the scalars of the run")
        plotted = {
            tag: value
            for tag, value in scalars.items()
            if tag not in self._csv_only and abs(value) <= progress.LARGEST_SHOWN
        }
        self._events.scalars(step, plotted)
        self._csv.row({"step": step, **scalars})

    @property
    def lacking(self) -> str:
        """A message about scalars that an older ``progress.csv`` has no column for, or nothing."""
        new = self._csv.left_out
        if not new:
            return ""
        several = f"{len(new)} new scalars, such as" if len(new) > 1 else "the new scalar"
        return f"progress.csv keeps its columns and lacks {several} {new[0]}"

    def settings(self, step: int, settings: Mapping[str, object]) -> None:
        """Write the settings for TensorBoard: as a table, and as hyperparameters."""
        rows = [(key, str(value)) for key, value in settings.items()]
        table = tables.markdown(["setting", "value"], rows)
        self._events.text(step, "params", table)
        self._events.add(0, *hparams.summaries(settings))

    def image(self, step: int, tag: str, gif: bytes) -> None:
        self._events.image(step, tag, gif)

    def sync(self) -> None:
        self._events.sync()
        self._csv.sync()

    def sizes(self) -> dict[str, int]:
        """Return each file's current size for ``cut``. An open file counts even if it was moved."""
        earlier = {path.name: path.stat().st_size for path in self._earlier if path.exists()}
        return earlier | {file.path.name: file.size for file in (self._csv, self._events)}

    def close(self) -> None:
        self._events.close()
        self._csv.close()


def check(folder: RunFolder) -> None:
    """Raise FolderError unless a resumed run can continue its ``progress.csv``."""
    try:
        progress.header(folder.progress)
    except FolderError as error:
        raise FolderError(f"{error}; move it away, and a new one begins") from error


def cut(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Truncate the files to earlier sizes. Newer files are removed; foreign ones are left alone."""
    for path in _files(folder):
        if path.name not in sizes:
            path.unlink()
        elif path.suffix == ".csv":
            _cut_rows(path, sizes[path.name])
        elif path.stat().st_size > sizes[path.name]:
            unshare(path)
            os.truncate(path, sizes[path.name])


def _cut_rows(path: Path, size: int) -> None:
    """Keep the rows that a log of that size had. This works even after an editor has changed the
    line ends or added a byte order mark; an edit by hand may also have removed the end of a row.
    """
    content = reading.content(path, progress.LARGEST)
    plain = content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
    kept = plain if len(plain) <= size else plain[: plain.rfind(b"\n", 0, size) + 1]
    if kept != content:
        write_whole(path, kept)


def _files(folder: Path) -> list[Path]:
    """The log's own files."""
    events = [path for path in folder.glob(EVENTS) if is_own(path)]
    return [*events, *folder.glob(PROGRESS)]
