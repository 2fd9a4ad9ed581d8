"""Scalars of a run: means since the last log entry, TensorBoard, and the same as CSV."""

import csv
import io
import math
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

from ppo.files.folder import check_regular, naming

# How an event file of this package begins; a foreign one may lie beside it.
OWN_EVENTS = re.compile(rb"brain\.Event:2.{1,8}ppo\.", re.DOTALL)


class UnknownScalar(KeyError):
    """A scalar that the run's list of names lacks; ``ppo.files.scalars`` makes that list."""


class RunningMeans:
    """Means of the values added since they were last taken. Values that are not finite
    (undefined ones are NaN) are left out."""

    def __init__(self, sums: Mapping[str, tuple[float, int]] | None = None):
        self._sums = {tag: (total, n) for tag, (total, n) in (sums or {}).items() if n}

    def add(self, scalars: Mapping[str, float]) -> None:
        """Add one value of each."""
        for tag, value in scalars.items():
            if math.isfinite(value):
                total, count = self._sums.get(tag, (0.0, 0))
                self._sums[tag] = total + value, count + 1

    def take(self) -> dict[str, float]:
        """Return the means and reset them."""
        means = {tag: total / count for tag, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def state(self) -> dict[str, tuple[float, int]]:
        """The state that ``RunningMeans(state)`` continues from."""
        return dict(self._sums)


class _OpenFile:
    """A file that grows. Its errors name it."""

    def __init__(self, path: Path, file: IO):
        self._path, self._file = path, file

    def flush(self) -> None:
        """Let readers see what was written."""
        with naming(self._path):
            self._file.flush()

    def sync(self) -> None:
        """Flush what was written to the disk."""
        with naming(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with naming(self._path):
            self._file.close()


class EventFile(_OpenFile):
    """A TensorBoard event file. Each start of a run writes its own; readers join them."""

    def __init__(self, folder: Path, first_step: int):
        """``first_step`` is the first step that this file may hold: TensorBoard then drops later
        steps that it may already have read."""
        name = f"events.out.tfevents.{_next_stamp(folder)}.{socket.gethostname()}"
        super().__init__(folder / name, open(folder / name, "xb"))  # noqa: SIM115 (close does it)
        self._records = RecordWriter(self._file)
        self._write(
            Event(
                file_version="brain.Event:2", source_metadata=SourceMetadata(writer="ppo.files.log")
            )
        )
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write one value of each."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(Event(step=step, summary=Summary(value=values)))

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Write a text, shown in TensorBoard's text tab."""
        metadata = SummaryMetadata(
            plugin_data=SummaryMetadata.PluginData(plugin_name="text"),
        )
        tensor = TensorProto(
            dtype=DT_STRING,
            string_val=[markdown.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        value = Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        self._write(Event(step=step, summary=Summary(value=[value])))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with naming(self._path):
            self._records.write(event.SerializeToString())


def _next_stamp(folder: Path) -> int:
    """The time in nanoseconds, raised above that of every existing file if the clock went back:
    TensorBoard reads the files in the order of their names.
    """
    names = [path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")]
    return max([time.time_ns(), *(int(stamp) + 1 for stamp in names if stamp.isdecimal())])


class CsvFile(_OpenFile):
    """A CSV with a fixed header; a missing scalar is an empty cell."""

    def __init__(self, path: Path, columns: Sequence[str]):
        """Appends to an existing file, under its own header."""
        before = b""
        if path.exists():
            check_regular(path)
            before = path.read_bytes()
        text = before.decode(errors="replace")
        self._columns = next(csv.reader(io.StringIO(text, newline="")), []) or columns
        super().__init__(path, open(path, "a", newline=""))  # noqa: SIM115 (close does it)
        if not before:
            self._append(columns)
        elif not before.endswith(b"\n"):  # edited by hand: the next row would join the last one
            self._file.write("\n")

    def row(self, scalars: Mapping[str, float]) -> None:
        """Append one row."""
        self._append([_cell(scalars.get(column)) for column in self._columns])

    def _append(self, cells: Sequence[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        with naming(self._path):
            self._file.write(line.getvalue())
            self._file.flush()


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else repr(float(value))


class Log:
    """The scalars of a run, in TensorBoard and in ``progress.csv``."""

    def __init__(self, folder: Path, tags: Sequence[str], first_step: int):
        """``tags`` are the names of all scalars that the run may write."""
        self.tags = frozenset(tags)
        self._csv = CsvFile(folder / "progress.csv", ["step", *tags])
        self._events = EventFile(folder, first_step)
        self._all = _files(folder)  # of earlier starts, too

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write one entry. Raises UnknownScalar, before anything is written."""
        if unknown := scalars.keys() - self.tags:
            raise UnknownScalar(f"{sorted(unknown)} are not among the scalars of the run")
        self._events.scalars(step, scalars)
        self._events.flush()
        self._csv.row({"step": step, **scalars})

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Write a text, for TensorBoard alone."""
        self._events.text(step, tag, markdown)
        self._events.flush()

    def sync(self) -> None:
        """Flush what was written to the disk."""
        self._events.sync()
        self._csv.sync()

    def sizes(self) -> dict[str, int]:
        """The files' current sizes, for ``cut``."""
        return {path.name: path.stat().st_size for path in self._all}

    def close(self) -> None:
        """Close the files."""
        self._events.close()
        self._csv.close()


def cut(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Truncate the files to earlier sizes; newer files are removed, foreign ones left alone."""
    for path in _files(folder):
        if path.name not in sizes:
            path.unlink()
        elif path.stat().st_size > sizes[path.name]:
            with open(path, "r+b") as file:
                size = sizes[path.name]
                if path.suffix == ".csv":  # edited by hand, it may not have a row's end there
                    size = file.read(size).rfind(b"\n") + 1
                file.truncate(size)


def _files(folder: Path) -> list[Path]:
    """The log's own files."""
    events = [path for path in folder.glob("events.out.tfevents.*") if _is_own(path)]
    return [*events, *folder.glob("progress.csv")]


def _is_own(events: Path) -> bool:
    if not events.is_file():
        return False
    with open(events, "rb") as file:
        return bool(OWN_EVENTS.search(file.read(100)))
