"""Run ffmpeg in a process that Ctrl-C does not reach, and that is killed if it hangs."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

import imageio_ffmpeg

from ppo.files.held import handles, with_names
from ppo.system.children import start, unnamed_file
from ppo.system.private import private

POLL_SECONDS = 0.1
STALLED_SECONDS = 60.0


class FfmpegError(RuntimeError):
    """ffmpeg failed; the message is its last output."""


class Stalled(FfmpegError):
    """ffmpeg did nothing for too long."""


class Work:
    """A running ffmpeg. Methods raise FfmpegError once it is stalled or ``abandoned``."""

    def __init__(
        self, process: subprocess.Popen[bytes], abandoned: Callable[[], bool], patience: float
    ):
        self.process = process
        self._abandoned, self._patience, self._moved = abandoned, patience, 0.0

    def feed(self, data: Any) -> None:
        """Write to its standard input, a pipe. Raises BrokenPipeError if it has ended."""
        assert self.process.stdin
        pipe, rest = self.process.stdin.fileno(), memoryview(data).cast("B")
        os.set_blocking(pipe, False)
        while rest:
            self._wait(pipe, select.POLLOUT)
            rest = rest[os.write(pipe, rest) :]

    def output(self) -> bytes:
        """Read its standard output, a pipe, to the end."""
        assert self.process.stdout
        pipe, content = self.process.stdout.fileno(), bytearray()
        while True:
            self._wait(pipe, select.POLLIN)
            if not (part := os.read(pipe, 2**20)):
                return bytes(content)
            content += part

    def finish(self) -> None:
        _close(self.process.stdin)
        self._moved = time.monotonic()
        while self.process.poll() is None:
            self._check()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(POLL_SECONDS)

    def _wait(self, pipe: int, event: int) -> None:
        self._moved, ready = time.monotonic(), select.poll()
        ready.register(pipe, event)
        self._check()
        while not ready.poll(1000 * POLL_SECONDS):
            self._check()

    def _check(self) -> None:
        if self._abandoned():
            raise FfmpegError("it was abandoned")
        if time.monotonic() > self._moved + self._patience:
            raise Stalled(f"ffmpeg did nothing for {self._patience:g} seconds")


@contextmanager
def running(
    arguments: Sequence[str],
    abandoned: Callable[[], bool] = lambda: False,
    patience: float | None = None,
    **streams: Any,
) -> Iterator[Work]:
    """Run ffmpeg during the block, and wait for it at the end. ffmpeg is killed if the block
    raises, once ``abandoned`` returns True, or if it does nothing for ``patience`` seconds (default
    STALLED_SECONDS).

    Raises FfmpegError if ffmpeg fails, even if the block then gets BrokenPipeError. Raises OSError
    or RuntimeError if there is no ffmpeg.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *arguments]
    # The errors are kept in memory, because ffmpeg may fail for a full disk.
    with open(unnamed_file("ffmpeg"), "w+b") as stderr:
        inherited = {"stderr": stderr, "pass_fds": handles(), **streams}
        process = start(command, start_new_session=True, **inherited)
        if process.stdin:
            private.add(process.stdin.fileno())  # a fork that keeps it open would stall ffmpeg
        work = Work(process, abandoned, STALLED_SECONDS if patience is None else patience)
        try:
            with suppress(BrokenPipeError):  # ffmpeg has ended; its exit code says why
                yield work
            work.finish()
        finally:
            if process.poll() is None:  # kill it with everything that it has started
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for pipe in (process.stdin, process.stdout):
                _close(pipe)
        if code := process.returncode:
            stderr.seek(0)
            lines = stderr.read().decode(errors="replace").strip().splitlines()
            ended = f"with {code}" if code > 0 else f"by signal {-code}"
            raise FfmpegError(with_names(lines[-1].strip()) if lines else f"ffmpeg ended {ended}")


def _close(pipe: IO[bytes] | None) -> None:
    if pipe and not pipe.closed:
        private.discard(pipe.fileno())
        pipe.close()
