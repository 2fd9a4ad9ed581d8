"""Processes that a test looks for, by a folder that their commands name."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ppo.workers.cluster import LINK


def processes_of(folder: Path) -> list[int]:
    """All running processes whose command names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if str(folder) in path.read_text(errors="replace"):
                found.append(int(path.parent.name))
    return found


def group_of(leader: int) -> list[int]:
    """All running processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            state, _, group = path.read_text(errors="replace").rpartition(") ")[2].split()[:3]
            if int(group) == leader and state != "Z":
                found.append(int(path.parent.name))
    return found


def workers_of(starter: int) -> dict[int, int]:
    """The process ids of the workers that a starter has now, by index."""
    children = Path(f"/proc/{starter}/task/{starter}/children").read_text().split()
    found = {}
    for child in map(int, children):
        for entry in Path(f"/proc/{child}/environ").read_text(errors="replace").split("\0"):
            name, _, link = entry.partition("=")
            if name == LINK:
                found[json.loads(link)["index"]] = child
    return found


def wait_until(fact: Callable[[], object], seconds: float = 120) -> None:
    """Wait until a fact holds."""
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it never holds"
        time.sleep(0.02)


@contextlib.contextmanager
def none_left(folder: Path) -> Iterator[None]:
    """Whatever fails, no process of the folder outlives the test."""
    try:
        yield
    finally:
        for orphan in processes_of(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGKILL)
