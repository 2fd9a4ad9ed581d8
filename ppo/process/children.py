"""Runs in processes of their own: the command that starts one, and how they are stopped."""

import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from ppo.process.exit_codes import ExitCode

# Beside the package, in a checkout as in an installation.
RUN_ATARI = [sys.executable, str(Path(__file__).resolve().parents[2] / "run_atari.py")]

PARENT_DIED = 1  # prctl's PR_SET_PDEATHSIG


def with_parent(number: signal.Signals) -> Callable[[], None]:
    """What a new process does, as ``preexec_fn``, to get this signal when its parent ends."""

    def ask() -> None:
        ctypes.CDLL(None).prctl(PARENT_DIED, number)

    return ask


class Children:
    """Processes that are stopped together.

    Each has a process group of its own, since the Ctrl-C of a terminal goes to all of a group, and
    a run that gets a second signal a little later ends without saving.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[subprocess.Popen] = set()
        # A second signal may interrupt `stop`, in the same thread.
        self._lock = threading.RLock()

    def stop(self, *_: object) -> None:
        """Send SIGTERM, once, to all that run, and start no other: a handler for ``on_stop``."""
        with self._lock:
            if not self.stopped:
                self.stopped = True
                for process in self._running:
                    process.terminate()

    def call(self, command: Sequence[str], stdout: IO[str], stderr: IO[str]) -> int:
        """As ``subprocess.call``, without a terminal; STOPPED if nothing may start any more."""
        with self._lock:
            if self.stopped:
                return ExitCode.STOPPED
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, process_group=0
            )
            self._running.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._running.discard(process)

    def close(self) -> None:
        """All have ended."""
