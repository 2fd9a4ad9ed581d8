"""One worker or many behind one interface: what the workers of a run must agree on.

Each worker plays its own envs. An update takes the mean of everyone's gradients before it clips
them, and decides early exits on everyone's means. Between updates the workers gather what else they
must know of each other. All workers therefore take the same steps and hold the same weights.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import tensorflow as tf


class Workers(Protocol):
    """The workers of one run, seen from one of them: every call is made by all, in the same order.

    An update is made inside ``watched`` and calls ``all_reduce_mean``. The other two are called
    between updates. Anything may raise WorkerLost.
    """

    count: int
    index: int

    def all_reduce_mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        """Return the mean over the workers of each tensor, in one exchange; all tensors have one
        type. A graph may call it, also in its loops, but not in a replica's function.
        """

    def all_gather(self, data: bytes) -> list[bytes]:
        """Return the data of each worker."""

    def broadcast(self, data: bytes) -> bytes:
        """Return the data of the first worker."""

    def watched(self) -> AbstractContextManager[None]:
        """While the context lasts, the failure of a graph that calls ``all_reduce_mean`` raises
        WorkerLost if another worker is the cause.
        """


class OneWorker:
    """A run in a single process: every mean is the value itself."""

    count, index = 1, 0

    def all_reduce_mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        return list(tensors)

    def all_gather(self, data: bytes) -> list[bytes]:
        return [data]

    def broadcast(self, data: bytes) -> bytes:
        return data

    def watched(self) -> AbstractContextManager[None]:
        """Do nothing: no other worker can be the cause of an error."""
        return nullcontext()
