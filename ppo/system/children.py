"""The one place that starts processes. Each of them ends with the process that started it."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ppo.errors import ExitCode
from ppo.system import tied
from ppo.system.signals import DEADLINE_SECONDS

# run_atari.py is beside the package, in a checkout and in an installation.
RUN_ATARI = [sys.executable, str(Path(__file__).resolve().parents[2] / "run_atari.py")]

GRACE_SECONDS = DEADLINE_SECONDS + 2  # a run that is asked to stop has ended by then


def start(
    command: Sequence[str | Path], at_death: signal.Signals | None = signal.SIGKILL, **options: Any
) -> subprocess.Popen:
    """Start a process, by default with an empty input. It gets the signal ``at_death`` when this
    process ends, even if this process is killed. Without a signal, it must end by itself.
    ``options`` are passed to ``subprocess.Popen``.

    Linux sends the signal when the calling thread ends, so call this from a thread that waits for
    the process.
    """
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(_tied(command, at_death), **options)


def run(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess:
    """Run a process to its end, as ``subprocess.run`` does; it is killed when this process ends."""
    return subprocess.run(_tied(command, signal.SIGKILL), **options)


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """Run a process in a group of its own. When the context ends, ask the process to end, and kill
    it if it still runs after GRACE_SECONDS.
    """
    process = start(command, process_group=0, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tied(command: Sequence[str | Path], at_death: signal.Signals | None) -> list[str]:
    words = list(map(str, command))
    if at_death is None or sys.platform != "linux":  # which alone has such a signal
        return words
    tie = [sys.executable, "-I", "-S", tied.__file__, str(os.getpid()), str(int(at_death))]
    return [*tie, *words]


def unnamed_file(purpose: str) -> int:
    """Return the descriptor of a new file: in memory on Linux, otherwise a temporary one."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(purpose)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal such as SIGSTOP; False if unknown."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


class Children:
    """Processes that are stopped together. Each has its own process group, which a terminal's
    Ctrl-C does not reach. A run that also got Ctrl-C would count two signals and end without
    saving.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen] = set()
        # A second signal may interrupt `stop`, in the same thread.
        self._lock = threading.RLock()

    def stop(self, *_: object) -> None:
        """Ask all processes, once, to end, and start no other (a handler for ``on_stop``)."""
        with self._lock:
            if not self.stopped:
                self.stopped = True
                self._ask_to_end()

    def _ask_to_end(self) -> None:
        for process in self._running:
            process.terminate()

    def call(self, command: Sequence[str], stdout: IO[str], stderr: IO[str]) -> int:
        """Run a process to its end. Return STOPPED if nothing may start any more."""
        with self._lock:
            if self.stopped:
                return ExitCode.STOPPED
            process = start(command, stdout=stdout, stderr=stderr, process_group=0)
            self._running.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._running.discard(process)

    def perform(self, work: Callable[[Callable[..., int]], int]) -> int:
        """Call ``work`` with ``call``, which runs processes, and return its exit code."""
        return work(self.call)

    def close(self) -> None:
        """Release nothing: every process has ended."""
