"""A TensorBoard event file for the scalars, text, images and hparams plugins."""

import os
import re
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from tensorboard.compat.proto import summary_pb2
from tensorboard.compat.proto.event_pb2 import Event, SessionLog, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from ppo.files.atomic import naming
from ppo.files.folder import EVENTS

# The first record of this package's event files; other programs' files may be in the same folder.
OWN_EVENTS = re.compile(rb"brain\.Event:2.{1,8}ppo\.", re.DOTALL)


class GrowingFile:
    """A file that grows. Its errors name the ``path`` under which it was opened."""

    def __init__(self, path: Path, file: IO):
        self.path, self._file = path, file

    @property
    def size(self) -> int:
        """The file's present size in bytes, wherever it may have been moved."""
        return os.fstat(self._file.fileno()).st_size

    def sync(self) -> None:
        with naming(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with naming(self.path):
            self._file.close()


class EventFile(GrowingFile):
    """A TensorBoard event file. Each start of a run writes its own; readers join them."""

    def __init__(self, folder: Path, first_step: int, descriptions: Mapping[str, str]):
        """In TensorBoard this file replaces the steps of older files from ``first_step`` on.
        ``descriptions`` explain scalars in Markdown.
        """
        name = f"events.out.tfevents.{_next_stamp(folder)}.{socket.gethostname()}"
        super().__init__(folder / name, open(folder / name, "xb"))  # noqa: SIM115 (close does it)
        self._records = RecordWriter(self._file)
        self._descriptions = descriptions
        self._described: set[str] = set()
        source = SourceMetadata(writer="ppo.telemetry.events")
        self._write(Event(file_version="brain.Event:2", source_metadata=source))
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write values as tensors, since readers drop the descriptions of simple values."""
        self.add(step, *(self._scalar(tag, np.float32(value)) for tag, value in scalars.items()))

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Write a text, shown in TensorBoard's text tab."""
        self.add(step, _value(tag, "text", summary_pb2.DATA_CLASS_TENSOR, [markdown.encode()]))

    def image(self, step: int, tag: str, gif: bytes) -> None:
        """Write a GIF, shown in TensorBoard's images tab."""
        strings = [*(b"%d" % side for side in struct.unpack("<HH", gif[6:10])), gif]
        self.add(step, _value(tag, "images", summary_pb2.DATA_CLASS_BLOB_SEQUENCE, strings))

    def add(self, step: int, *values: Summary.Value) -> None:
        """Write values at a step."""
        self._write(Event(step=step, summary=Summary(value=values)))

    def _scalar(self, tag: str, value: np.float32) -> Summary.Value:
        if tag in self._described:
            return Summary.Value(tag=tag, tensor=make_tensor_proto(value))
        self._described.add(tag)
        description = self._descriptions.get(tag, "")
        return _value(tag, "scalars", summary_pb2.DATA_CLASS_SCALAR, value, description)

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with naming(self.path):
            self._records.write(event.SerializeToString())
            self._file.flush()


def is_own(path: Path) -> bool:
    """Whether an event file was written by this package."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return bool(OWN_EVENTS.search(file.read(100)))


def _value(
    tag: str, plugin: str, data_class: int, content: object, description: str = ""
) -> Summary.Value:
    data = SummaryMetadata.PluginData(plugin_name=plugin)
    about = SummaryMetadata(
        plugin_data=data, data_class=data_class, summary_description=description
    )
    return Summary.Value(tag=tag, metadata=about, tensor=make_tensor_proto(content))


def _next_stamp(folder: Path) -> int:
    """Return a stamp in nanoseconds above every existing file's. TensorBoard reads the files in the
    order of their stamps.
    """
    names = [path.name.split(".")[3] for path in folder.glob(EVENTS)]
    return max([time.time_ns(), *(int(stamp) + 1 for stamp in names if stamp.isdecimal())])
