"""Runs on the machines of a Ray cluster (https://docs.ray.io), each a task with reserved cores.

All machines have this package, and see the sweep's folder under one path. If a machine is lost, Ray
starts its run on another one, where it resumes. Ray is optional: ``pip install .[cluster]``.
"""

import platform
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from ppo.errors import ExitCode
from ppo.files.folder import FolderError
from ppo.sweep.parallel import Call, say
from ppo.system.children import Children, running
from ppo.workers.cluster import environment_alone

MOST_RETRIES = 20  # of a run whose machine is lost
POLL_SECONDS = 0.5
EXPOSURE = (
    "Ray opens TCP ports on all network interfaces of each of its machines. Whoever controls Ray "
    "runs programs as you. Firewall rule: accept Ray's ports only from these machines; see "
    "docs/scale.md"
)


class Cluster(Children):
    """Start processes on any machine with free cores, and stop them together."""

    def __init__(self, address: str, cores: int, gpu: bool, folder: Path):
        """Connect to the cluster. ``address`` is "local", "auto" or HOST:PORT; ``folder`` is on
        shared storage. Raises OSError if the cluster does not answer, and FolderError if a machine
        lacks the folder.
        """
        import ray

        super().__init__()
        self._ray = ray
        say(EXPOSURE)
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, ValueError, ray.exceptions.RayError) as error:
            cause = str(error) or "no Ray cluster answers there"
            raise OSError(f"--cluster={address}: {cause}") from error
        finally:
            signal.signal(signal.SIGTERM, handler)  # Ray sets one that ends the process
        self._marker = tempfile.NamedTemporaryFile(dir=folder, prefix=".sweep-")  # noqa: SIM115
        self._tasks: set[Any] = set()
        reserve = ray.remote(num_cpus=cores, num_gpus=int(gpu), max_retries=MOST_RETRIES)
        self._task = reserve(run_here)
        try:
            self._check_machines()
        except BaseException:
            self.close()
            raise

    def _check_machines(self) -> None:
        """Raise FolderError if a machine does not see the folder."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = self._ray.remote(num_cpus=0)(check_seen)
        checks = [
            there.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(self._marker.name)
            for node in self._ray.nodes()
            if node["Alive"]
        ]
        try:
            self._ray.get(checks)
        except self._ray.exceptions.RayTaskError as error:
            raise FolderError(str(error.cause)) from error

    def _ask_to_end(self) -> None:
        for task in self._tasks:
            self._ray.cancel(task)

    def perform(self, work: Callable[[Call], int]) -> int:
        """Do the work on a machine of the cluster. Raises OSError for errors on that machine."""
        with self._lock:
            if self.stopped:
                return ExitCode.STOPPED
            task = self._task.remote(work, self._marker.name)
            self._tasks.add(task)
        try:
            return self._ray.get(task)
        except self._ray.exceptions.TaskCancelledError:
            return ExitCode.STOPPED
        except self._ray.exceptions.RayError as error:
            raise OSError(str(getattr(error, "cause", None) or error)) from error
        finally:
            with self._lock:
                self._tasks.discard(task)

    def close(self) -> None:
        """Leave the cluster."""
        self._marker.close()
        self._ray.shutdown()


def check_seen(marker: str) -> None:
    """Raise FolderError unless this machine sees a file of the sweep's folder."""
    if not Path(marker).exists():
        raise FolderError(
            f"the machine {platform.node()} does not see {Path(marker).parent}; --cluster needs a "
            "--logdir on storage that all machines of the cluster share, under the same path"
        )


def run_here(work: Callable[[Call], int], marker: str) -> int:
    """Do the work of a run on this machine. Return its exit code. Raises FolderError."""
    check_seen(marker)
    return work(call)


def call(command: Sequence[str], stdout: IO[str], stderr: IO[str]) -> int:
    """Call a command as ``Children.call`` does. If Ray cancels the task, the run saves and ends. A
    Slurm step that started Ray on many machines does not make the run one of several workers.
    """
    with running(command, stdout=stdout, stderr=stderr, env=environment_alone()) as process:
        while process.poll() is None:  # `ray.cancel` cannot interrupt one long wait
            time.sleep(POLL_SECONDS)
    return process.returncode
