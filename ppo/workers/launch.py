"""One run over many processes on this machine. The starter starts and watches them, and restarts
them from the newest checkpoint if one dies or halts.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from ppo.errors import ExitCode, Refused
from ppo.files.folder import FolderGone, RunFolder
from ppo.files.held import held
from ppo.system.arguments import CALLED, called
from ppo.system.children import GRACE_SECONDS, RUN_ATARI, is_stopped, start, unnamed_file
from ppo.system.device import VISIBLE_GPUS, visible_gpus
from ppo.system.signals import Requests, on_stop
from ppo.system.streams import say
from ppo.workers.cluster import Link

GRACE_OF_OTHERS_SECONDS = 2.0
POLL_SECONDS = 0.1
STOPPED_POLLS = 30  # after these, a worker stopped by SIGSTOP is ended


def run(logdir: Path, arguments: Sequence[str], workers: int, restarts: int) -> int:
    """Run a command in a number of worker processes to the end, with a limited number of restarts.
    Return the exit code. ``arguments`` are the command's, except the folder.

    Raises Refused if there are GPUs but too few for one per worker. Raises FolderGone if the
    run's folder was removed before a restart.
    """
    gpus = gpus_for(workers)
    for left in range(restarts, -1, -1):
        with ExitStack() as open_files:
            with linked(workers) as links:
                team = _Team(logdir, arguments, links, gpus, open_files)
            with on_stop(team.stop):
                team.wait()
            code, cause = outcome(team.first_code, team.asked)
            if cause:
                team.show_errors(cause)
            if code != ExitCode.LOST:
                return code
            logdir = team.present_folder()
        reason = "the workers lost each other"
        if cause is not None:
            number = -team.first_code[cause]
            reason = f"worker {cause} was lost ({signal.Signals(number).name})"
        if left:
            reason += f"; restarts left: {left - 1}; all start again"
            if RunFolder(logdir).params.exists():
                reason += " from the newest checkpoint"
                arguments = arguments if "--resume" in arguments else ["--resume"]
        say(reason, sys.stderr)
    return ExitCode.LOST


class _Team:
    """The processes of one start. Each has its own session, so a terminal's Ctrl-C reaches only the
    starter. If the starter dies, they are asked to stop.
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
        self.logdir, self.asked, self._requests = logdir, False, Requests()
        self._open_files = open_files
        self._folder: RunFolder | None = None
        self._hold()
        self.first_code: dict[int, int] = {}  # by worker, in the order in which they ended
        self.errors: list[IO[str]] = []
        self.processes: list[subprocess.Popen] = []
        self._stopped_polls = [0] * len(links)  # successive polls that found each worker stopped
        for index, link in enumerate(links):
            # The others repeat the first worker's output, unless one of them causes a failure.
            output_file = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
            errors = open_files.enter_context(output_file)
            output = {"stdout": errors, "stderr": errors} if index else {}
            options = {**inherited(link, gpus), **output, "start_new_session": True}
            self.errors.append(errors)
            self.processes.append(start(command, at_death=signal.SIGTERM, **options))

    def stop(self, *_: object) -> None:
        """Ask all to stop; at a second request, end them: a handler for ``on_stop``."""
        if self._requests.register() and self.asked:
            self._end()
        self.asked = True

    def wait(self) -> None:
        """Wait until all have ended. After a failure or a stop, end those that take too long."""
        deadline: float | None = None
        while len(self.first_code) < len(self.processes):
            for index, process in enumerate(self.processes):
                if index in self.first_code:
                    continue
                if process.poll() is None:
                    self._end_if_stopped(index)
                else:
                    self.first_code[index] = process.returncode
            self._hold()
            codes = self.first_code.values()
            if deadline is None and (any(codes) or self.asked):
                deadline = time.monotonic() + GRACE_SECONDS
                if self.asked or not SAME_AT_ONCE.issuperset(codes):
                    for process in self.processes:
                        process.terminate()
            if 0 in self.first_code:  # the others have nothing to save
                deadline = min(deadline or math.inf, time.monotonic() + GRACE_OF_OTHERS_SECONDS)
            if deadline is not None and time.monotonic() > deadline:
                self._end()
            time.sleep(POLL_SECONDS)

    def present_folder(self) -> Path:
        """Return the run's present folder. Raises FolderGone if it was removed."""
        if self._folder and self._folder.is_gone:
            raise FolderGone(self.logdir)
        return self._folder.name if self._folder else self.logdir

    def _hold(self) -> None:
        """Hold the run's folder once the run exists: it may be moved before the next start."""
        if not self._folder and RunFolder(self.logdir).params.exists():
            self._folder = RunFolder(self._open_files.enter_context(held(self.logdir)))

    def _end_if_stopped(self, worker: int) -> None:
        """End a stopped process. It closes no socket, so the others would wait for it."""
        pid = self.processes[worker].pid
        self._stopped_polls[worker] = self._stopped_polls[worker] + 1 if is_stopped(pid) else 0
        if self._stopped_polls[worker] == STOPPED_POLLS:
            say(f"worker {worker} is stopped (SIGSTOP), so it is ended", sys.stderr)
            self.processes[worker].kill()

    def show_errors(self, worker: int) -> None:
        """Show the message of a worker other than the first, which has printed its own message."""
        self.errors[worker].seek(0)
        if message := self.errors[worker].read().rstrip("\n"):
            say(message, sys.stderr)

    def _end(self) -> None:
        for process in self.processes:
            process.kill()


# If one worker ends with such a code, all end by themselves. A signal could cut off a message.
SAME_AT_ONCE = {ExitCode.DONE, ExitCode.STOPPED, ExitCode.DIVERGED, ExitCode.COLLAPSED}
# A worker that ends with such a code knows why, and would end the same way again.
SAME_FOR_ALL = (ExitCode.REFUSED, ExitCode.DIVERGED, ExitCode.COLLAPSED)
VERDICTS = (ExitCode.FAILED, *SAME_FOR_ALL)


def outcome(codes: Mapping[int, int], asked: bool) -> tuple[int, int | None]:
    """Return the exit code of all workers together, and the worker that it comes from. ``codes``
    are in the order in which the workers ended; ``asked`` says whether they were asked to stop.
    """
    if codes[0] in (ExitCode.DONE, *SAME_FOR_ALL):
        return codes[0], 0
    for worker, code in codes.items():
        if code in VERDICTS:
            return code, worker
    first_failure = next(code for code in codes.values() if code)
    if first_failure == ExitCode.STOPPED or asked:
        saved = codes[0] >= 0 or -codes[0] == signal.SIGTERM  # it had not begun
        return ExitCode.STOPPED if saved else ExitCode.FAILED, 0
    return ExitCode.LOST, next((worker for worker, code in codes.items() if code < 0), None)


def gpus_for(workers: int) -> list[str]:
    """Return one GPU for each worker, or none if there are none. Raises Refused."""
    gpus = visible_gpus()
    if 0 < len(gpus) < workers:
        raise Refused(
            f"{workers} workers need a GPU each, and there are {len(gpus)}: use --workers="
            f"{len(gpus)}, or train on the processor, with {VISIBLE_GPUS}=-1 in the environment"
        )
    return gpus[:workers]


@contextmanager
def linked(workers: int) -> Iterator[list[Link]]:
    """Create the memory and sockets that join this many workers on this machine; they have neither
    a name nor a port. Start the workers within the context, with the result of ``inherited``.
    """
    with ExitStack() as ends:
        memory = unnamed_file("ppo-workers")
        ends.callback(os.close, memory)
        pairs = [socket.socketpair() for _ in range(workers - 1)]
        for end in itertools.chain(*pairs):
            ends.enter_context(end)
        first_ends = tuple(own.fileno() for own, _ in pairs)
        sockets = [first_ends, *((other.fileno(),) for _, other in pairs)]
        yield [Link(workers, index, memory, own) for index, own in enumerate(sockets)]


def inherited(link: Link, gpus: Sequence[str] = ()) -> dict[str, Any]:
    """Return what ``subprocess.Popen`` passes to a worker: its link and its GPU, if any."""
    gpu = {VISIBLE_GPUS: gpus[link.index]} if gpus else {}
    environment = {**os.environ, **link.environment, **gpu, CALLED: called()}
    return {"env": environment, "pass_fds": link.descriptors}
