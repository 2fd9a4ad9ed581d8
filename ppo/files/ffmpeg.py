"""ffmpeg, in a process that a Ctrl-C of the terminal does not reach, and whose last words are the
reason if it fails.
"""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

import imageio_ffmpeg

from ppo.files.held import handles, shown
from ppo.process.children import start

POLL_SECONDS = 0.1


class FfmpegError(RuntimeError):
    """ffmpeg failed, with what it said last."""


@contextmanager
def running(arguments: Sequence[str], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """ffmpeg while the block runs, at whose end it finishes; if the block raises, it is killed.

    Raises FfmpegError if it fails, also for the BrokenPipeError that the block then gets, and
    OSError or RuntimeError if there is none.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *arguments]
    # In memory, since a disk that is full is a reason to fail.
    with open(os.memfd_create("ffmpeg"), "w+b") as said:
        inherited = {"stderr": said, "pass_fds": handles(), **streams}
        process = start(command, start_new_session=True, **inherited)
        # A pipe that breaks is only a sign of why it ended.
        with suppress(BrokenPipeError), process:
            try:
                yield process
            except BrokenPipeError:
                raise
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise FfmpegError(_reason(said, process.returncode))


def output(arguments: Sequence[str], abandoned: Callable[[], bool] = lambda: False) -> bytes:
    """What ffmpeg writes to its standard output. Raises as ``running``; once ``abandoned`` returns
    True, it is killed, and so fails.
    """
    with running(arguments, stdout=subprocess.PIPE) as process:
        while True:
            if abandoned():
                process.kill()
            with suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=POLL_SECONDS)[0]


def _reason(said: IO[bytes], code: int) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    ended = f"ffmpeg ended with {code}" if code > 0 else f"ffmpeg was ended by signal {-code}"
    return shown(told[-1]) if told else ended
