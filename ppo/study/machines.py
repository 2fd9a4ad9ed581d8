"""Runs on the machines of a Ray cluster (https://docs.ray.io), each a task with its cores reserved.

All machines have this package. Those that do not see the sweep's folder work on a copy of their
run's part of it, and send back what changes. If a machine is lost, its runs go on elsewhere from
their newest checkpoints. Ray is optional: ``pip install .[cluster]``.
"""

import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from ppo.process.exit_codes import ExitCode
from ppo.study.command import RUN_ATARI, Children, with_parent
from ppo.study.desk import Copy, Desk
from ppo.study.grid import Run
from ppo.study.parallel import Call, say

LOSSES = 20  # how often a run may lose its machine
POLL_SECONDS, SEND_SECONDS = 0.5, 10.0


class MachineLost(Exception):
    """The machine of a run, or Ray on it, ended before the run did."""


def faults(address: str | None) -> list[str]:
    """Why no cluster can be used."""
    if address is None or find_spec("ray"):
        return []
    return [f"--cluster={address}: Ray is not installed; install it with: pip install '.[cluster]'"]


class Cluster(Children):
    """Processes on whichever machine has the cores free, stopped together."""

    def __init__(self, address: str, cores: int, gpu: bool, folder: Path, settings: Path):
        """``address`` is "local", "auto" or HOST:PORT; ``settings`` is the params file, in the
        sweep's ``folder``. Raises OSError if the cluster does not answer.
        """
        import ray

        super().__init__()
        self._folder, self._settings = folder, settings.relative_to(folder)
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
        except ConnectionError as error:
            raise OSError(f"--cluster={address}: {error}") from error
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        # Many tasks wait for its answers, and one may send a large file.
        actor = ray.remote(num_cpus=0, max_concurrency=100, scheduling_strategy=here)(Desk)
        self._desk = actor.remote(folder)
        self._task = ray.remote(num_cpus=cores, num_gpus=int(gpu), max_retries=0)(run_here)

    def stop(self, *_: object) -> None:
        """Have all that run asked to stop, and start no other: a handler for ``on_stop``."""
        self.stopped = True
        self._desk.stop.remote()

    def call(self, command: Sequence[str], stdout: IO[str], stderr: IO[str]) -> int:
        """As ``Children.call``, of the command alone, whose first argument is the run's folder.
        Raises MachineLost.
        """
        import ray
        from ray.exceptions import NodeDiedError, WorkerCrashedError

        if self.stopped:
            return ExitCode.STOPPED
        arguments = [str(part) for part in command[len(RUN_ATARI) :]]
        log = Path(stdout.name).relative_to(self._folder)
        paths = [str(log), str(log.with_suffix("")), str(self._settings)]
        try:
            return ray.get(self._task.remote(arguments, self._folder, paths, Asked(self._desk)))
        except (NodeDiedError, WorkerCrashedError) as error:
            if self.stopped:
                return ExitCode.STOPPED
            raise MachineLost from error

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        ray.get(self._desk.close.remote())
        ray.shutdown()


class Asked:
    """The desk as another machine has it: each call waits for the answer."""

    def __init__(self, desk: Any):
        self._desk = desk

    def marker(self) -> Path:
        """As ``Desk.marker``, and so the others."""
        return self._answer("marker")

    def stopped(self) -> bool:
        return self._answer("stopped")

    def lend(self, paths: Sequence[str]) -> dict[str, bytes]:
        return self._answer("lend", paths)

    def take(self, files: dict[str, bytes], paths: Sequence[str], kept: Sequence[str]) -> None:
        self._answer("take", files, paths, kept)

    def _answer(self, method: str, *arguments: object) -> Any:
        import ray

        return ray.get(getattr(self._desk, method).remote(*arguments))


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


def run_here(
    arguments: Sequence[str], folder: Path, paths: Sequence[str], desk: Desk | Asked
) -> int:
    """Run the command on this machine until it ends, or until the desk says stop; returns its exit
    code. The run's log, its folder and its params file are the ``paths`` in the sweep's ``folder``;
    where this machine does not see that, a copy takes its place.
    """
    if desk.marker().exists():
        return _run(arguments, folder / paths[0], desk, lambda: None)
    with tempfile.TemporaryDirectory(prefix="ppo-sweep-") as place:
        copy = Copy(Path(place), paths, desk.lend(paths))

        def send() -> None:
            files, all_names = copy.changed()
            desk.take(files, paths, all_names)

        there = [part.replace(str(folder), place) for part in arguments]
        code = _run(there, Path(place, paths[0]), desk, send)
        send()
    return code


def _run(arguments: Sequence[str], log: Path, desk: Desk | Asked, send: Callable[[], None]) -> int:
    """Run the command to its end, and ``send`` what there is every few seconds."""
    log.parent.mkdir(parents=True, exist_ok=True)
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
        sent = time.monotonic()
        while process.poll() is None:
            if desk.stopped():
                process.terminate()  # it saves
                process.wait()
            elif time.monotonic() > sent + SEND_SECONDS:
                send()
                sent = time.monotonic()
            else:
                time.sleep(POLL_SECONDS)
    return process.returncode
