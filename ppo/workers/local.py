"""Many workers on one machine: they exchange through shared memory and open no port.

Each worker writes its numbers into its own row. Each worker then sums its share of all rows, in the
order of the workers, and reads the others' sums. All workers therefore get the same bits, whatever
the timing. Sockets carry everything else: the first worker has one to each other worker. A socket
that closes means that the worker at its other end died. The starter ends a worker that is stopped.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ppo.errors import WorkerLost
from ppo.system.private import private
from ppo.workers.cluster import LINK, UNLINKED, ClusterError, Link
from ppo.workers.interface import Workers

if TYPE_CHECKING:
    import tensorflow as tf


class LocalWorkers(Workers):
    """Processes that one process of this machine started.

    Wait until all workers are there. Raises ClusterError and WorkerLost.
    """

    def __init__(self, link: Link):
        self.count, self.index = link.count, link.index
        self._begun = False
        self._lost: WorkerLost | None = None
        others = range(1, self.count) if self.index == 0 else (0,)
        try:
            for descriptor in link.descriptors:
                os.set_inheritable(descriptor, False)
                private.add(descriptor)
            self._sockets: dict[int, Connection] = dict(
                zip(others, map(Connection, link.sockets), strict=True)
            )
        except (OSError, ValueError) as error:
            raise ClusterError(UNLINKED) from error
        os.environ.pop(LINK, None)  # the processes that it starts are not workers
        self._memory = link.memory
        self._rows = np.empty((self.count + 1, 0), np.uint8)  # of each worker, and the means
        self._meet()
        self._begun = True

    def all_reduce_mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        import tensorflow as tf

        sizes = [tensor.shape.num_elements() for tensor in tensors]
        flat = tf.numpy_function(self.average, tensors, tensors[0].dtype)
        flat.set_shape([sum(sizes)])
        parts = tf.split(flat, sizes)
        return [tf.reshape(part, t.shape) for part, t in zip(parts, tensors, strict=True)]

    def average(self, *arrays: np.ndarray) -> np.ndarray:
        """Return the mean over the workers of arrays of one type, as one vector."""
        size, dtype = sum(array.size for array in arrays), arrays[0].dtype
        self._make_room(size * dtype.itemsize)
        rows = self._rows[:, : size * dtype.itemsize].view(dtype)
        np.concatenate([array.ravel() for array in arrays], out=rows[self.index])
        self._meet()
        first, end = (size * n // self.count for n in (self.index, self.index + 1))
        *terms, mean = rows[:, first:end]
        mean[:] = terms[0]
        for term in terms[1:]:
            mean += term
        mean /= self.count
        self._meet()
        return rows[-1].copy()

    def all_gather(self, data: bytes) -> list[bytes]:
        if self._lost:
            raise self._lost
        if self.index > 0:
            self._send(0, data)
            return self._receive(0)
        gathered = [data, *(self._receive(worker) for worker in self._sockets)]
        for worker in self._sockets:
            self._send(worker, gathered)
        return gathered

    @contextmanager
    def watched(self) -> Iterator[None]:
        """See ``Workers``: TensorFlow has an error of its own for what ``average`` raises."""
        try:
            yield
        except Exception:
            if self._lost:
                raise self._lost from None
            raise

    def _meet(self) -> None:
        self.all_gather(b"")

    def _make_room(self, row_bytes: int) -> None:
        """Make all rows hold this many bytes; all workers call it at once."""
        if row_bytes <= self._rows.shape[1]:
            return
        self._meet()  # nobody reads the rows any more
        size = (self.count + 1) * -(-row_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        os.ftruncate(self._memory, size)
        memory = mmap.mmap(self._memory, size)
        self._rows = np.frombuffer(memory, np.uint8).reshape(self.count + 1, -1)

    def _send(self, worker: int, message: object) -> None:
        try:
            self._sockets[worker].send(message)
        except OSError as error:
            self._lose(worker, error)

    def _receive(self, worker: int) -> Any:
        try:
            message = self._sockets[worker].recv()
        except (EOFError, OSError) as error:
            self._lose(worker, error)
        if isinstance(message, int):  # the first worker reports that another was lost
            self._lose(message, "the first worker lost it")
        return message

    def _lose(self, worker: int, reason: object) -> NoReturn:
        """Raise WorkerLost now and at each later call; the first worker informs all others."""
        self._lost = WorkerLost(worker, reason, self._begun)
        if self.index == 0:
            for socket in self._sockets.values():
                with suppress(OSError):
                    socket.send(worker)
        raise self._lost
