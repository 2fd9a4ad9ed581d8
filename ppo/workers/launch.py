"""One run over many processes on this machine: they are started, watched, and started again from
the newest checkpoint when one of them dies or hangs.
"""

import itertools
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ppo.errors import ExitCode
from ppo.files.folder import FolderGone, RunFolder
from ppo.files.held import held
from ppo.system.children import RUN_ATARI, is_stopped, start
from ppo.system.device import VISIBLE_GPUS, DeviceError, visible_gpus
from ppo.system.signals import DEADLINE_SECONDS, Requests, on_stop
from ppo.system.streams import say
from ppo.workers.cluster import Link

# Once one has failed, the others are asked to stop, which they do by a deadline of their own.
GRACE_SECONDS = DEADLINE_SECONDS + 2
GRACE_OF_OTHERS_SECONDS = 2.0
POLL_SECONDS = 0.1
STOPPED_POLLS = 30  # after which a worker that SIGSTOP has stopped is ended


@dataclass(frozen=True)
class Launch:
    """A run that is started as ``workers`` processes, and again at most ``restarts`` times;
    ``begin`` are the command's arguments besides the folder.
    """

    logdir: Path
    begin: Sequence[str]
    workers: int
    restarts: int

    def go(self) -> int:
        """Run to the end; returns the exit code. Raises DeviceError if there are GPUs, but not one
        for each worker, and FolderGone if the run's folder was removed before a restart.
        """
        logdir, arguments, gpus = self.logdir, self.begin, gpus_for(self.workers)
        for restart in range(self.restarts + 1):
            with ExitStack() as open_files:
                with linked(self.workers) as links:
                    team = _Team(logdir, arguments, links, gpus, open_files)
                with on_stop(team.stop):
                    team.wait()
                code, cause = outcome(team.first_code, team.asked)
                if cause:
                    team.show_errors(cause)
                if code != ExitCode.LOST:
                    return code
                logdir = team.place()
                reason = _told(cause, team.first_code)
            left = self.restarts - restart
            if left:
                reason += f"; all start again ({left - 1} more times)"
                if RunFolder(logdir).params.exists():
                    reason += " from the newest checkpoint"
                    if "--resume" not in arguments:
                        arguments = ["--resume"]
            say(reason, sys.stderr)
        return ExitCode.LOST


class _Team:
    """The processes of one start. Each has a session of its own, so that the starter hears the
    Ctrl-C of a terminal alone; if it dies, they are asked to stop.
    """

    def __init__(
        self,
        logdir: Path,
        arguments: Sequence[str],
        links: Sequence[Link],
        gpus: Sequence[str],
        open_files: ExitStack,
    ):
        command = [*RUN_ATARI, f"--logdir={logdir}", *arguments]
        self.logdir, self.asked = logdir, False
        self._open_files = open_files
        self._folder: RunFolder | None = None
        self._hold()
        self._requests = Requests()
        self.first_code: dict[int, int] = {}  # by worker, in the order in which they ended
        self.errors: list[IO[str]] = []
        self.processes: list[subprocess.Popen] = []
        self._stopped_polls: Counter[int] = Counter()  # by worker, without a break
        for index, link in enumerate(links):
            # The others say only what the first one says, too, unless they are the cause.
            errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open_files closes it)
            open_files.push(errors)
            process = start(
                command,
                at_death=signal.SIGTERM,
                **inherited(link, gpus),
                stdout=None if index == 0 else errors,
                stderr=None if index == 0 else errors,
                start_new_session=True,
            )
            self.errors.append(errors)
            self.processes.append(process)

    def stop(self, *_: object) -> None:
        """Have all asked to stop; at a second request, end them: a handler for ``on_stop``."""
        self.asked = True
        if self._requests.hear():
            self._end()

    def wait(self) -> None:
        """Wait until all have ended; those that do not end soon after one that failed, or after a
        request to stop, are ended.
        """
        deadline: float | None = None
        while len(self.first_code) < len(self.processes):
            for index, process in enumerate(self.processes):
                if index not in self.first_code and process.poll() is not None:
                    self.first_code[index] = process.returncode
                elif index not in self.first_code:
                    self._end_if_stopped(index)
            self._hold()
            failed = any(self.first_code.values())
            if deadline is None and (failed or self.asked):
                deadline = time.monotonic() + GRACE_SECONDS
                self._ask()
            if 0 in self.first_code:  # the others have nothing to save
                deadline = min(deadline or math.inf, time.monotonic() + GRACE_OF_OTHERS_SECONDS)
            if deadline is not None and time.monotonic() > deadline:
                self._end()
            time.sleep(POLL_SECONDS)

    def place(self) -> Path:
        """Where the run's folder is now. Raises FolderGone if it was removed."""
        if self._folder and self._folder.is_gone:
            raise FolderGone(self.logdir)
        return self._folder.name if self._folder else self.logdir

    def _hold(self) -> None:
        """Hold the run's folder once there is a run: it may be moved before the next start."""
        if not self._folder and RunFolder(self.logdir).params.exists():
            self._folder = RunFolder(self._open_files.enter_context(held(self.logdir)))

    def _end_if_stopped(self, worker: int) -> None:
        """A stopped process closes no socket, so the others would wait for it."""
        pid = self.processes[worker].pid
        self._stopped_polls[worker] += 1 if is_stopped(pid) else -self._stopped_polls[worker]
        if self._stopped_polls[worker] == STOPPED_POLLS:
            say(f"worker {worker} is stopped (SIGSTOP), so it is ended", sys.stderr)
            self.processes[worker].kill()

    def show_errors(self, worker: int) -> None:
        """Show what one of the others said; the first said it by itself."""
        self.errors[worker].seek(0)
        if said := self.errors[worker].read().rstrip("\n"):
            say(said, sys.stderr)

    def _ask(self) -> None:
        for process in self.processes:
            process.terminate()

    def _end(self) -> None:
        for process in self.processes:
            process.kill()


# A worker that ends so knows why, and would end so again.
TOLD_BY_ALL = (ExitCode.REFUSED, ExitCode.DIVERGED, ExitCode.COLLAPSED)
VERDICTS = (ExitCode.FAILED, *TOLD_BY_ALL)


def outcome(codes: Mapping[int, int], asked: bool) -> tuple[int, int | None]:
    """The exit code of all workers together, and whose it is, from those of each, in the order in
    which they ended; ``asked`` is whether they were asked to stop.
    """
    if codes[0] == ExitCode.DONE:
        return ExitCode.DONE, 0
    if codes[0] in TOLD_BY_ALL:
        return codes[0], 0
    for worker, code in codes.items():
        if code in VERDICTS:
            return code, worker
    first = next(code for code in codes.values() if code)
    if first == ExitCode.STOPPED or asked:
        saved = codes[0] >= 0 or -codes[0] == signal.SIGTERM  # it had not begun
        return ExitCode.STOPPED if saved else ExitCode.FAILED, 0
    return ExitCode.LOST, next((worker for worker, code in codes.items() if code < 0), None)


def _told(lost: int | None, codes: Mapping[int, int]) -> str:
    if lost is None:
        return "the workers lost each other"
    return f"worker {lost} was lost ({signal.Signals(-codes[lost]).name})"


def gpus_for(workers: int) -> list[str]:
    """A GPU for each of so many workers on this machine; none if it has none. Raises DeviceError
    if there are fewer than workers.
    """
    gpus = visible_gpus()
    if 0 < len(gpus) < workers:
        raise DeviceError(
            f"{workers} workers need a GPU each, and there are {len(gpus)}: use --workers="
            f"{len(gpus)}, or train on the processor, with {VISIBLE_GPUS}=-1 in the environment"
        )
    return gpus[:workers]


@contextmanager
def linked(workers: int) -> Iterator[list[Link]]:
    """What joins so many workers on this machine: memory and sockets that have neither a name nor a
    port. The workers must be started within the context, with what is ``inherited``.
    """
    with ExitStack() as ends:
        memory = os.memfd_create("ppo-workers")
        ends.callback(os.close, memory)
        pairs = [socket.socketpair() for _ in range(workers - 1)]
        for end in itertools.chain(*pairs):
            ends.enter_context(end)
        of_first = tuple(own.fileno() for own, _ in pairs)
        sockets = [of_first, *((other.fileno(),) for _, other in pairs)]
        yield [Link(workers, index, memory, of_one) for index, of_one in enumerate(sockets)]


def inherited(link: Link, gpus: Sequence[str] = ()) -> dict[str, Any]:
    """What ``subprocess.Popen`` hands to a worker: its link and, if there are any, its GPU."""
    gpu = {VISIBLE_GPUS: gpus[link.index]} if gpus else {}
    return {"env": {**os.environ, **link.environment, **gpu}, "pass_fds": link.descriptors}
