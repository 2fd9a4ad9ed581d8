"""One worker or many behind one interface: what the workers of a run must agree on.

The update averages its gradients over the workers before it clips them, and asks all workers at
each early exit; the trainer asks before it stops. So far there is only one worker.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import tensorflow as tf


class Workers(Protocol):
    """The workers of one run, seen from one of them.

    ``mean`` and ``every`` are called while a graph is traced, outside any replica's function;
    ``any`` between two iterations.
    """

    count: int

    def mean_gradients(self, gradients: "list[tf.Tensor]") -> "list[tf.Tensor]":
        """The mean over the workers of each gradient."""

    def mean(self, statistic: "tf.Tensor") -> "tf.Tensor":
        """The mean over the workers of a statistic that decides an early exit."""

    def every(self, flag: "tf.Tensor") -> "tf.Tensor":
        """Whether a flag is set on every worker."""

    def any(self, flag: bool) -> bool:
        """Whether a flag is set on any worker."""


class OneWorker:
    """A run in a single process: every mean is the value itself."""

    count = 1

    def mean_gradients(self, gradients: "list[tf.Tensor]") -> "list[tf.Tensor]":
        """The gradients."""
        return gradients

    def mean(self, statistic: "tf.Tensor") -> "tf.Tensor":
        """The statistic."""
        return statistic

    def every(self, flag: "tf.Tensor") -> "tf.Tensor":
        """The flag."""
        return flag

    def any(self, flag: bool) -> bool:
        """The flag."""
        return flag


def connect() -> Workers:
    """The workers that this process belongs to. ``ppo.process.device.start_tensorflow`` calls it
    before TensorFlow runs any operation.
    """
    return OneWorker()
