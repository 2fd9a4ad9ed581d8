"""Runs on the machines of a Ray cluster (https://docs.ray.io), each a task with its cores reserved.

All machines have this package and see the sweep's folder. If a machine is lost, its runs go on
elsewhere from their newest checkpoints. Ray is optional: ``pip install .[cluster]``.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from ppo.process.exit_codes import ExitCode
from ppo.study.command import RUN_ATARI, Children, with_parent
from ppo.study.grid import Run
from ppo.study.parallel import Call, say

LOSSES = 20  # how often a run may lose its machine
POLL_SECONDS = 0.5


class MachineLost(Exception):
    """The machine of a run, or Ray on it, ended before the run did."""


def faults(address: str | None) -> list[str]:
    """Why no cluster can be used."""
    if address is None or find_spec("ray"):
        return []
    return [f"--cluster={address}: Ray is not installed; install it with: pip install '.[cluster]'"]


class Cluster(Children):
    """Processes on whichever machine has the cores free, stopped together."""

    def __init__(self, address: str, cores: int, gpu: bool, folder: Path):
        """``address`` is "local", "auto" or HOST:PORT. A file in the sweep's ``folder``, which all
        machines see, tells the runs to stop. Raises OSError if the cluster does not answer.
        """
        import ray

        super().__init__()
        self._file = folder / ".stop"
        self._file.unlink(missing_ok=True)
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
        except ConnectionError as error:
            raise OSError(f"--cluster={address}: {error}") from error
        self._task = ray.remote(num_cpus=cores, num_gpus=int(gpu), max_retries=0)(run_here)

    def stop(self, *_: object) -> None:
        """Have all that run asked to stop, and start no other: a handler for ``on_stop``."""
        self.stopped = True
        self._file.touch()

    def call(self, command: Sequence[str], stdout: IO[str], stderr: IO[str]) -> int:
        """As ``Children.call``, of the command alone. Raises MachineLost, and OSError if a machine
        does not see the folder.
        """
        import ray
        from ray.exceptions import NodeDiedError, WorkerCrashedError

        if self.stopped:
            return ExitCode.STOPPED
        arguments = [str(part) for part in command[len(RUN_ATARI) :]]
        try:
            return ray.get(self._task.remote(arguments, stdout.name, str(self._file)))
        except (NodeDiedError, WorkerCrashedError) as error:
            if self.stopped:
                return ExitCode.STOPPED
            raise MachineLost from error

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        ray.shutdown()
        self._file.unlink(missing_ok=True)


def outlasting(go: Callable[[Run, Call], int]) -> Callable[[Run, Call], int]:
    """``go``, which starts or resumes a run, again each time that the run has lost its machine."""

    def again(run: Run, call: Call) -> int:
        for _ in range(LOSSES):
            try:
                return go(run, call)
            except MachineLost:
                say(f"{run.name}: its machine was lost; it goes on elsewhere")
        return ExitCode.LOST

    return again


def run_here(arguments: Sequence[str], log: str, stop_file: str) -> int:
    """Run the command on this machine until it ends, or until the file is there; returns its exit
    code. Raises OSError if this machine does not see the folder of the log.
    """
    if not os.path.isdir(os.path.dirname(log)):
        raise OSError(
            f"the machine {socket.gethostname()} does not see {os.path.dirname(log)}; let --logdir "
            "be a folder that all machines share"
        )
    with open(log, "a") as out:
        process = subprocess.Popen(
            [*RUN_ATARI, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            process_group=0,
            # Where Ray is gone, the run must not go on beside the one that takes its place.
            preexec_fn=with_parent(signal.SIGKILL),
        )
        while process.poll() is None:
            if os.path.exists(stop_file):
                process.terminate()  # it saves
                process.wait()
            time.sleep(POLL_SECONDS)
    return process.returncode
