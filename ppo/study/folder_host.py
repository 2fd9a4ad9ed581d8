"""The folder of a sweep as other machines have it: those that do not see it read and store the
files of their runs through its host.
"""

import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ppo.files.folder import LOCK, PARTIAL, RunFolder, owned, write_whole

CHECKPOINT, MARKER = ".ckpt", ".sweep-"


class Paths(NamedTuple):
    """Where a run has its files in the folder of the sweep."""

    log: str
    run: str
    settings: str


class Loan(NamedTuple):
    """The files of a run, by path, as a machine gets them, and the number that it stores with."""

    number: int
    files: dict[str, bytes]


class FolderHost:
    """It lives where the sweep does, and also says whether the runs shall stop. All methods may be
    called by several threads at once.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._stopped = False
        self._marker = folder / f"{MARKER}{secrets.token_hex(8)}"
        self._marker.touch()
        self._lock = threading.Lock()
        self._loans = 0
        self._lent: dict[str, int] = {}
        self._owned: dict[str, ExitStack] = {}

    def marker(self) -> str:
        """A file of no other folder: a machine where it is there sees this one."""
        return str(self._marker)

    def stop(self) -> None:
        """All runs shall save and end."""
        self._stopped = True

    def stopped(self) -> bool:
        """Whether they shall."""
        return self._stopped

    def lend(self, paths: Paths) -> Loan:
        """The files of a run, which no other process may train until it is released; an earlier
        loan of it ends. Raises FolderError if another process trains it.
        """
        with self._lock:
            if paths.run not in self._owned:
                locks = ExitStack()
                locks.enter_context(owned(self.folder / paths.run))
                self._owned[paths.run] = locks
            self._loans += 1
            self._lent[paths.run] = self._loans
            found = {name: (self.folder / name).read_bytes() for name in names(self.folder, paths)}
            return Loan(self._loans, found)

    def store(
        self, number: int, paths: Paths, files: dict[str, bytes], gone: Sequence[str]
    ) -> None:
        """Store files of a loan, and remove those that are gone there. Whenever it is killed, the
        run can be resumed: from its first checkpoint on, a checkpoint never lacks a part of its
        log. Raises OSError, also for a loan that has ended.
        """
        with self._lock:
            if self._lent.get(paths.run) != number:
                raise OSError(f"{paths.run} goes on elsewhere")
            for name in self._ordered(paths, files):
                place = self.folder / name
                place.parent.mkdir(parents=True, exist_ok=True)
                write_whole(place, files[name])
            for name in gone:
                (self.folder / name).unlink(missing_ok=True)

    def release(self, number: int, paths: Paths) -> None:
        """The loan ends, unless it has."""
        with self._lock:
            if self._lent.get(paths.run) == number:
                del self._lent[paths.run]
                self._owned.pop(paths.run).close()

    def close(self) -> None:
        """Leave no trace."""
        with self._lock:
            self._marker.unlink(missing_ok=True)
            for locks in self._owned.values():
                locks.close()

    def _ordered(self, paths: Paths, names: Iterable[str]) -> list[str]:
        """The settings of a run, if it has no checkpoint yet its first one, the log, all others."""
        there = any(RunFolder(self.folder / paths.run).checkpoints.glob(f"*{CHECKPOINT}"))
        steps = sorted(name for name in names if Path(name).match(f"step-*{CHECKPOINT}"))
        first = None if there or not steps else steps[0]

        def order(name: str) -> tuple[int, str]:
            if name.endswith("params.json"):
                return 0, name
            return (1 if name == first else 3 if name.endswith(CHECKPOINT) else 2), name

        return sorted(names, key=order)


class LocalCopy:
    """A run's files on a machine that does not see the folder of the sweep."""

    def __init__(self, folder: Path, paths: Paths, files: dict[str, bytes]):
        self.folder, self.paths = folder, paths
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self._sent = self._states()

    def changed(self) -> tuple[dict[str, bytes], list[str]]:
        """The files that have changed since the last time, by path, and the paths of those that
        are gone. A checkpoint is read before the log, which so has all that belongs to it.
        """
        while True:
            states = self._states()
            new = [name for name, state in states.items() if self._sent.get(name) != state]
            new.sort(key=lambda name: not name.endswith(CHECKPOINT))
            try:
                files = {name: (self.folder / name).read_bytes() for name in new}
            except FileNotFoundError:  # an old checkpoint; what took its place is not listed yet
                continue
            gone = [name for name in self._sent if name not in states]
            self._sent = states
            return files, gone

    def _states(self) -> dict[str, tuple[int, int]]:
        found = {}
        for name in names(self.folder, self.paths):
            try:
                state = os.stat(self.folder / name)
            except FileNotFoundError:
                continue
            found[name] = state.st_mtime_ns, state.st_size
        return found


def names(folder: Path, paths: Sequence[str]) -> Iterator[str]:
    """The files at and below paths of a folder, whole ones and no locks, as paths in it."""
    for path in paths:
        place = folder / path
        found = [place] if place.is_file() else sorted(place.rglob("*"))
        for file in found:
            locks = file.name.endswith(LOCK) or PARTIAL.fullmatch(file.name)
            if not locks and file.is_file():
                yield str(file.relative_to(folder))
