"""The command in processes of its own, each a fork of a server that has imported TensorFlow: what
it does after that is what it does otherwise, and two seconds of every start are saved.
"""

import _thread
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from ppo.system.children import RUN_ATARI

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.imported"])


class Forked:
    """As a ``subprocess.Popen`` of run_atari.py, or of another module's ``main``, whose output is
    read when it has ended."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        cwd: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        limit_bytes: int | None = None,
        one_stream: bool = False,
        log: Path | None = None,
        module: str = "run_atari",
    ):
        self._folder = tempfile.TemporaryDirectory(prefix="ppo-forked-")
        top = Path(self._folder.name)
        self._files = [log, log] if log else [top / "out", top / ("out" if one_stream else "err")]
        words = [module, *map(str, arguments)]
        given = words, str(cwd or Path.cwd()), dict(environment), limit_bytes
        # A daemon ends with the test's process, which would else wait for one that hangs.
        self._process = SERVER.Process(target=_become, args=(self._files, *given), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = 300) -> int:
        self._process.join(timeout)
        assert self._process.exitcode is not None, "it does not end"
        return self._process.exitcode

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        self.wait(timeout)
        out, err = (path.read_text() for path in self._files)
        return out, err

    def __enter__(self):
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:  # the test has failed
            self.send_signal(signal.SIGKILL)
        self.wait()


def start_with_log(command: Sequence[str], stdout: IO[str], **_: object) -> Forked:
    """As ``ppo.system.children.start`` starts the command, whose output goes into a log."""
    assert list(command[:2]) == RUN_ATARI
    return Forked(command[2:], log=Path(stdout.name))


def _become(
    files: Sequence[Path],
    words: list[str],
    cwd: str,
    environment: Mapping[str, str],
    limit_bytes: int | None,
) -> None:
    # The command looks for other threads of its process. It does not see this one.
    _thread.start_new_thread(_end_with_test, ())
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    module, *arguments = words
    sys.exit(importlib.import_module(module).main(arguments))


def _end_with_test() -> None:
    """Its parent is the server, which lives as long as it does."""
    test = multiprocessing.parent_process()
    assert test
    test.join()
    os.kill(os.getpid(), signal.SIGKILL)
