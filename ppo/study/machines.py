"""Runs on the machines of a Ray cluster (https://docs.ray.io), each a task with its cores reserved.

All machines have this package. Those that do not see the sweep's folder work on a copy of their
run's files, and send back what changes. If a machine is lost, its runs go on elsewhere from their
newest checkpoints. Ray is optional: ``pip install .[cluster]``.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from ppo.errors import ExitCode
from ppo.process import reading
from ppo.process.children import RUN_ATARI, Children, end, start
from ppo.study.folder_host import FolderHost, Loan, LocalCopy, Paths
from ppo.study.grid import Run
from ppo.study.parallel import Call, say

LOSSES = 20  # how often a run may lose its machine
POLL_SECONDS, SEND_SECONDS = 0.5, 10.0
EXPOSURE = (
    "Ray opens TCP ports on all network interfaces of each of its machines. Whoever controls Ray "
    "runs programs as you. Firewall rule: accept Ray's ports only from these machines; see "
    "docs/scale.md"
)


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
        self._folder, self._settings = folder, str(settings.relative_to(folder))
        say(EXPOSURE)
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
        except ConnectionError as error:
            raise OSError(f"--cluster={address}: {error}") from error
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        # Many tasks wait for its answers, and one may send a large file.
        actor = ray.remote(num_cpus=0, max_concurrency=100, scheduling_strategy=here)(FolderHost)
        self._host = actor.remote(folder)
        self._task = ray.remote(num_cpus=cores, num_gpus=int(gpu), max_retries=0)(run_here)

    def stop(self, *_: object) -> None:
        """Have all that run asked to stop, and start no other: a handler for ``on_stop``."""
        self.stopped = True
        self._host.stop.remote()

    def call(self, command: Sequence[str], stdout: IO[str], stderr: IO[str]) -> int:
        """As ``Children.call``, of the command alone, whose output goes to the run's log, beside
        its folder. Raises MachineLost, and OSError for what went wrong there.
        """
        import ray
        from ray import exceptions

        if self.stopped:
            return ExitCode.STOPPED
        arguments = [str(part) for part in command[len(RUN_ATARI) :]]
        log = Path(stdout.name).relative_to(self._folder)
        paths = Paths(str(log), str(log.with_suffix("")), self._settings)
        lost = (
            exceptions.NodeDiedError,
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
        )
        try:
            task = self._task.remote(arguments, self._folder, paths, RemoteHost(self._host))
            return ray.get(task)
        except lost as error:
            if self.stopped:
                return ExitCode.STOPPED
            raise MachineLost from error
        except exceptions.RayError as error:
            raise OSError(str(getattr(error, "cause", None) or error)) from error

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        try:
            ray.get(self._host.close.remote())
        finally:
            ray.shutdown()


class RemoteHost:
    """The host of the folder as another machine has it: each call waits for the answer."""

    def __init__(self, host: Any):
        self._host = host

    def marker(self) -> str:
        """``FolderHost.marker``."""
        return self._answer("marker")

    def stopped(self) -> bool:
        """``FolderHost.stopped``."""
        return self._answer("stopped")

    def lend(self, paths: Paths) -> Loan:
        """``FolderHost.lend``."""
        return self._answer("lend", paths)

    def store(self, number: int, paths: Paths, files: dict[str, bytes], gone: list[str]) -> None:
        """``FolderHost.store``."""
        self._answer("store", number, paths, files, gone)

    def release(self, number: int, paths: Paths) -> None:
        """``FolderHost.release``."""
        self._answer("release", number, paths)

    def _answer(self, method: str, *arguments: object) -> Any:
        import ray

        return ray.get(getattr(self._host, method).remote(*arguments))


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
    arguments: Sequence[str], folder: Path, paths: Paths, host: FolderHost | RemoteHost
) -> int:
    """Run the command on this machine until it ends, or until the host says stop; returns its exit
    code. ``paths`` are those of the run in the sweep's ``folder``; where this machine does not see
    that, a copy takes its place. Raises OSError and FolderError.
    """
    if host.stopped():
        return ExitCode.STOPPED
    if os.path.exists(host.marker()):
        return _run(arguments, folder / paths.log, host, lambda: None)
    loan = host.lend(paths)
    try:
        with tempfile.TemporaryDirectory(prefix="ppo-sweep-") as place:
            copy = LocalCopy(Path(place), paths, loan.files)

            def send() -> None:
                host.store(loan.number, paths, *copy.changed())

            there = [_moved(part, folder, Path(place)) for part in arguments]
            code = _run(there, Path(place, paths.log), host, send)
            send()
    finally:
        host.release(loan.number, paths)
    return code


def _moved(argument: str, folder: Path, place: Path) -> str:
    """An argument that is an option with a path in the folder, with that path in the place."""
    option, equals, value = argument.partition("=")
    inside = option.startswith("--") and equals and Path(value).is_relative_to(folder)
    return f"{option}={place / Path(value).relative_to(folder)}" if inside else argument


def _run(
    arguments: Sequence[str],
    log: Path,
    host: FolderHost | RemoteHost,
    send: Callable[[], None],
) -> int:
    """Run the command to its end, and ``send`` what there is every few seconds. It does not outlive
    this call.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    reading.check(log)
    with open(log, "a") as out:
        process = start([*RUN_ATARI, *arguments], stdout=out, stderr=out, process_group=0)
        try:
            _wait(process, host, send)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return process.returncode


def _wait(
    process: subprocess.Popen, host: FolderHost | RemoteHost, send: Callable[[], None]
) -> None:
    sent = time.monotonic()
    while process.poll() is None:
        if host.stopped():
            end(process)  # it saves
        elif time.monotonic() > sent + SEND_SECONDS:
            send()
            sent = time.monotonic()
        else:
            time.sleep(POLL_SECONDS)
