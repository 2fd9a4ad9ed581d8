"""Where the runs of a cluster are directed from: whether to stop, and the files of those machines
that do not see the sweep's folder.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from ppo.files.folder import LOCK, PARTIAL, write_whole

CHECKPOINT, MARKER = ".ckpt", ".sweep-"


class Desk:
    """It is on the machine of the sweep; the tasks of all runs ask it and send to it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._stopped = False
        for left in folder.glob(f"{MARKER}*"):  # by a sweep that was killed
            left.unlink()
        self._marker = folder / f"{MARKER}{secrets.token_hex(8)}"
        self._marker.touch()

    def marker(self) -> Path:
        """A file of no other folder: a machine where it is there sees this one."""
        return self._marker

    def stop(self) -> None:
        """All runs shall save and end."""
        self._stopped = True

    def stopped(self) -> bool:
        """Whether they shall."""
        return self._stopped

    def lend(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The files at and below these paths of the folder, by path."""
        return {name: (self.folder / name).read_bytes() for name in names(self.folder, paths)}

    def take(self, files: dict[str, bytes], paths: Sequence[str], kept: Sequence[str]) -> None:
        """Store files, those of the log first, so that a checkpoint never lacks a part of it. At
        and below ``paths`` only those that are ``kept`` stay.
        """
        for name in sorted(files, key=lambda name: name.endswith(CHECKPOINT)):
            place = self.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, files[name])
        for name in {*names(self.folder, paths)} - {*kept}:
            (self.folder / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Leave no trace."""
        self._marker.unlink(missing_ok=True)


class Copy:
    """A run's part of the folder on a machine that does not see it."""

    def __init__(self, folder: Path, paths: Sequence[str], files: dict[str, bytes]):
        """Begins with ``files``, which are at and below ``paths``, or beside them."""
        self.folder, self.paths = folder, paths
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self._sent = self._states()

    def changed(self) -> tuple[dict[str, bytes], list[str]]:
        """The files that have changed since the last time, by path, and the paths of all; a
        checkpoint is read before the log, which so has all that belongs to it.
        """
        states = self._states()
        new = [name for name, state in states.items() if self._sent.get(name) != state]
        files: dict[str, bytes] = {}
        for name in sorted(new, key=lambda name: not name.endswith(CHECKPOINT)):
            try:
                files[name] = (self.folder / name).read_bytes()
            except FileNotFoundError:  # an old checkpoint, which went meanwhile
                states.pop(name)
        self._sent = states
        return files, list(states)

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
            if file.name != LOCK and not PARTIAL.fullmatch(file.name) and file.is_file():
                yield str(file.relative_to(folder))
