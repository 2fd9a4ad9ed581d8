"""Workers on several machines, which exchange through TensorFlow's collective operations.

They use MultiWorkerMirroredStrategy; its servers accept anyone who reaches their ports.

On a CPU the exchanges travel around a ring over gRPC, on GPUs through NCCL. Each worker has one
replica. The strategy's coordination service notices a worker that died or does not answer within
some ten seconds, and makes everyone's collectives fail.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from ppo.errors import WorkerLost
from ppo.nn.compiled import compiled
from ppo.workers.cluster import TF_CONFIG, ClusterError, Worker
from ppo.workers.interface import Workers

MOST_TASKS = 1024  # the most tasks on a node
# Errors of the exchange, by their types or by their words.
LOST = tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.CancelledError
EXCHANGES = "ollective", "CoordinationService"
WORD = np.dtype(np.int32)  # bytes are gathered as this type


class Collectives(Workers):
    """Several processes. It must be made before any operation runs, and waits until all workers are
    there. Raises ClusterError and WorkerLost.
    """

    def __init__(self, worker: Worker):
        self.count, self.index, self._chief = worker.count, worker.index, worker.has_chief
        kinds = tf.distribute.experimental.CommunicationImplementation
        has_gpu = tf.config.list_physical_devices("GPU")
        options = tf.distribute.experimental.CommunicationOptions(
            implementation=kinds.NCCL if has_gpu else kinds.RING
        )
        try:
            with self.watched(begun=False):
                self._strategy = tf.distribute.MultiWorkerMirroredStrategy(
                    cluster_resolver=_resolver(), communication_options=options
                )
        except tf.errors.OpError as error:
            message = f"worker {self.index} cannot be connected: {error.message}"
            if "gRPC server" in error.message:
                message += "; give it an address of this machine, with a port that is free"
            raise ClusterError(message) from error
        if self._strategy.num_replicas_in_sync != self.count:
            raise ClusterError(
                f"{self.count} workers use {self._strategy.num_replicas_in_sync} devices; give "
                "each worker one GPU, by CUDA_VISIBLE_DEVICES, or none"
            )
        signature = [tf.TensorSpec([None], tf.int32)]
        self._gather, self._sum = (
            compiled(exchange, input_signature=signature)
            for exchange in (self._gathered, self._reduced)
        )

    def all_reduce_mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """See ``Workers``: all tensors travel as one vector."""
        flat = self._reduced(tf.concat([tf.reshape(t, [-1]) for t in tensors], 0)) / self.count
        parts = tf.split(flat, [t.shape.num_elements() for t in tensors])
        return [tf.reshape(part, t.shape) for part, t in zip(parts, tensors, strict=True)]

    def all_gather(self, data: bytes) -> list[bytes]:
        with self.watched():
            words = self._gather(_words(data)).numpy()
        gathered = []
        while len(words):
            size = int(words[0])
            end = 1 - (-size // WORD.itemsize)
            gathered.append(words[1:end].tobytes()[:size])
            words = words[end:]
        return gathered

    def broadcast(self, data: bytes) -> bytes:
        """See ``Workers``: the others add zeros, which costs less than gathering all data."""
        words = _words(data)
        (size, *_) = self.all_gather(len(words).to_bytes(8))
        total = np.zeros(int.from_bytes(size), WORD)
        if self.index == 0:
            total[:] = words
        with self.watched():
            words = self._sum(total).numpy()
        return words[1:].tobytes()[: int(words[0])]

    @contextmanager
    def watched(self, begun: bool = True) -> Iterator[None]:
        """See ``Workers``; ``begun`` is whether all workers had connected."""
        try:
            yield
        except tf.errors.OpError as error:
            if not (isinstance(error, LOST) or any(word in error.message for word in EXCHANGES)):
                raise
            reason = type(error).__name__
            raise WorkerLost(self._culprit(error.message), reason, begun) from None

    def _culprit(self, message: str) -> int | None:
        """Return the first worker that an error names; the coordination service is in worker 0."""
        if task := re.search(r"/job:(\w+)/(?:replica:0/)?task:(\d+)", message):
            return int(task[2]) + (self._chief and task[1] == "worker")
        return 0 if "CoordinationService" in message else None

    def _reduced(self, tensor: tf.Tensor) -> tf.Tensor:
        # TensorFlow picks the reduction by the tensor's device; the identity places it on the
        # replica's.
        return self._strategy.run(
            lambda: tf.distribute.get_replica_context().all_reduce("sum", tf.identity(tensor))
        )

    def _gathered(self, tensor: tf.Tensor) -> tf.Tensor:
        return self._strategy.run(
            lambda: tf.distribute.get_replica_context().all_gather(tf.identity(tensor), axis=0)
        )


def _resolver() -> tf.distribute.cluster_resolver.ClusterResolver:
    if os.environ.get(TF_CONFIG):
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    # Slurm decides which GPU a task has. By itself the resolver would ask nvidia-smi, which a
    # machine without GPUs lacks.
    return tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=MOST_TASKS, gpus_per_task=1, auto_set_gpu=False
    )


def _words(data: bytes) -> np.ndarray:
    """Return the data's size and the data, in whole words."""
    padded = data + bytes(-len(data) % WORD.itemsize)
    return np.concatenate([np.array([len(data)], WORD), np.frombuffer(padded, WORD)])
