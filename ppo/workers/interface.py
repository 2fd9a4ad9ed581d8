"""One worker or many behind one interface: what the workers of a run must agree on.

Each worker plays its own envs. An update takes the mean of everyone's gradients before it clips
them, and decides early exits on everyone's means. Between updates the workers gather what else they
must know of each other. All workers therefore take the same steps and hold the same weights.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


class Workers:
    """The workers of one run, seen from one of them: every call is made by all, in the same order.
    This class is the only worker of a run: every mean is the value itself.

    An update is made inside ``watched`` and calls ``all_reduce_mean``. The other two are called
    between updates. With several workers, anything may raise WorkerLost.
    """

    count, index = 1, 0

    def all_reduce_mean(self, tensors: "Sequence[tf.Tensor]") -> "list[tf.Tensor]":
        """Return the mean over the workers of each tensor, in one exchange; all tensors have one
        type. A graph may call it, also in its loops, but not in a replica's function.
        """
        return list(tensors)

    def all_gather(self, data: bytes) -> list[bytes]:
        """Return the data of each worker."""
        return [data]

    def broadcast(self, data: bytes) -> bytes:
        """Return the data of the first worker."""
        return self.all_gather(data if self.index == 0 else b"")[0]

    def watched(self) -> AbstractContextManager[None]:
        """While the context lasts, the failure of a graph that calls ``all_reduce_mean`` raises
        WorkerLost if another worker is the cause.
        """
        return nullcontext()
