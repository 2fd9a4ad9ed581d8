"""Scalars of a run: means over the time since the last point, TensorBoard, and a CSV twin."""

import csv
import io
import math
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter


class Means:
    """Means of whatever was added since they were last taken. Numbers that are not finite
    (an undefined one is NaN) are left out."""

    def __init__(self, sums: Mapping[str, Sequence[float]] | None = None):
        self._sums = {tag: (total, int(count)) for tag, (total, count) in (sums or {}).items()}

    def add(self, scalars: Mapping[str, float]) -> None:
        """Count in one more value of each."""
        for tag, value in scalars.items():
            if math.isfinite(value):
                total, count = self._sums.get(tag, (0.0, 0))
                self._sums[tag] = total + value, count + 1

    def take(self) -> dict[str, float]:
        """The means; then begin anew."""
        means = {tag: total / count for tag, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def state(self) -> dict[str, list[float]]:
        """What ``Means(state)`` goes on from."""
        return {tag: list(pair) for tag, pair in self._sums.items()}


class EventFile:
    """A TensorBoard event file. Each start of a run writes its own; readers join them."""

    def __init__(self, folder: Path, first_step: int):
        """``first_step`` is the first step that this file may hold: TensorBoard then drops what
        it may already have read of a later one."""
        name = f"events.out.tfevents.{_next_stamp(folder)}.{socket.gethostname()}"
        self._file = open(folder / name, "xb")  # noqa: SIM115 (closed by close)
        self._records = RecordWriter(self._file)
        self._write(
            Event(
                file_version="brain.Event:2", source_metadata=SourceMetadata(writer="ppo.metrics")
            )
        )
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write one point of each."""
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

    def flush(self) -> None:
        """Let readers see what was written."""
        self._file.flush()

    def sync(self) -> None:
        """Flush what was written to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())


def _next_stamp(folder: Path) -> int:
    """Nanoseconds now, but later than every file that is there, whatever the clock says:
    TensorBoard reads the files in the order of their names.
    """
    names = [path.name.split(".")[3] for path in folder.glob("events.out.tfevents.*")]
    return max([time.time_ns(), *(int(stamp) + 1 for stamp in names if stamp.isdecimal())])


class CsvFile:
    """A CSV with a fixed head; a missing scalar is an empty cell."""

    def __init__(self, path: Path, columns: Sequence[str]):
        """Goes on with the file if there is one, under its own head."""
        fresh = not path.exists() or path.stat().st_size == 0
        if not fresh:
            with open(path, newline="") as existing:
                columns = next(csv.reader(existing))
        self._columns = columns
        self._file = open(path, "a", newline="")  # noqa: SIM115 (closed by close)
        if fresh:
            self._append(columns)

    def row(self, scalars: Mapping[str, float]) -> None:
        """Append one row."""
        self._append([_cell(scalars.get(column)) for column in self._columns])

    def sync(self) -> None:
        """Flush what was written to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def _append(self, cells: Sequence[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._file.write(line.getvalue())
        self._file.flush()


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else repr(float(value))


class Log:
    """The scalars of a run, in TensorBoard and in ``progress.csv``."""

    def __init__(self, folder: Path, tags: Sequence[str], first_step: int):
        self._folder = folder
        self._csv = CsvFile(folder / "progress.csv", ["step", *tags])
        self._events = EventFile(folder, first_step)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write one point."""
        self._events.scalars(step, scalars)
        self._events.flush()
        self._csv.row({"step": step, **scalars})

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Write a text, for TensorBoard alone."""
        self._events.text(step, tag, markdown)
        self._events.flush()

    def sizes(self) -> dict[str, int]:
        """The files and how long they are now, for ``cut``; so much of them is on the disk."""
        self._events.sync()
        self._csv.sync()
        return {path.name: path.stat().st_size for path in _files(self._folder)}

    def close(self) -> None:
        """End the files."""
        self._events.close()
        self._csv.close()


def cut(folder: Path, sizes: Mapping[str, Any]) -> None:
    """Bring the files back to the sizes that they had; what was begun since is removed."""
    for path in _files(folder):
        if path.name not in sizes:
            path.unlink()
        elif path.stat().st_size > sizes[path.name]:
            with open(path, "r+b") as file:
                file.truncate(sizes[path.name])


def _files(folder: Path) -> list[Path]:
    return [*folder.glob("events.out.tfevents.*"), *folder.glob("progress.csv")]
