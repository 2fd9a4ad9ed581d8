"""Importing TensorFlow without its noise, and telling it how many threads to use."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def default_threads() -> int:
    """Threads to compute with: one for each core that this process may use, at most 8."""
    return min(len(os.sched_getaffinity(0)), 8)


def has_gpu() -> bool:
    """Whether TensorFlow computes on a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def shards(threads: int) -> int:
    """Parts that a batch is computed in at once: one a thread, but all of it on a GPU."""
    return 1 if has_gpu() else threads


def start_tensorflow(threads: int) -> None:
    """Import TensorFlow, one thread an operation, ``threads`` operations at once.

    With one thread an operation the sums in it have one order, whatever else runs: the same
    run gives the same bits. Many cores are used by cutting a minibatch into parts.
    What TensorFlow prints while it is imported is shown only if the import fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Left unset, TensorFlow turns oneDNN off on some processors, where the filter gradients of
    # the convolutions then take several times as long.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with _stderr_held_back():
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        # oneDNN tells once, when it is first asked, that it leaves bytes to others.
        tf.transpose(tf.zeros([1, 2], tf.uint8))


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Hold back file descriptor 2, which no log level of TensorFlow silences altogether; show
    what was held back if there is an error.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(real, held.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
