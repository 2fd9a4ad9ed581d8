"""The origin of a forked run, from the file in its folder."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from os.path import realpath
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Strict, TypeAdapter

from ppo.files.atomic import write_whole
from ppo.files.folder import FolderError, RunFolder, named
from ppo.files.held import with_names
from ppo.system import reading
from ppo.system.reading import Step, Unreadable
from ppo.system.streams import warn

LONGEST_LINE = 2**20  # bytes of a log's line; a header has about 2 kB

Changes = dict[str, tuple[Any, Any]]


def _usable(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path has no NUL character")
    return path


@dataclass(frozen=True)
class Origin:
    """The run and step that a fork began from, and its changed settings, before and after.
    ``first_entry`` identifies the run; forks of earlier versions have none.
    """

    run: Annotated[Path, AfterValidator(_usable)]
    step: Annotated[Step, Strict()]
    changes: Changes = field(default_factory=dict)
    first_entry: str | None = None

    def is_of(self, run: Path, step: int) -> bool:
        """Whether the origin is this step of this run, which may have been moved."""
        same_name = named(self.run).name == named(run).name
        moved = same_name and not os.path.exists(RunFolder(self.run).params)
        same = moved or realpath(self.run) == realpath(run)
        return self.step == step and same and self.fits(run)

    def fits(self, run: Path) -> bool:
        """Whether a run can be the origin, as far as the first entries of both logs are known."""
        theirs = first_entry(run, self.step)
        return None in (theirs, self.first_entry) or theirs == self.first_entry


def first_entry(run: Path, step: int) -> str | None:
    """Return a hash of the first entry of a run's log, or None if there is none up to a step. No
    two runs have the same entry, because it has the time that the run took.
    """
    with suppress(OSError, ValueError), reading.opened(RunFolder(run).progress) as file:
        entry = [file.readline(LONGEST_LINE) for _ in range(2)][1].strip()
        if float(entry.split(b",")[0]) <= step:
            return hashlib.sha256(entry).hexdigest()
    return None


def write(folder: RunFolder, origin: Origin) -> None:
    """Write the origin into a fork's folder."""
    facts = asdict(origin) | {"run": str(origin.run.absolute())}
    write_whole(folder.origin, (json.dumps(facts, indent=2) + "\n").encode())


def remove(folder: RunFolder) -> None:
    """Remove what a fork wrote about its origin."""
    folder.origin.unlink(missing_ok=True)
    folder.fork_start.unlink(missing_ok=True)


def read(folder: RunFolder) -> Origin | None:
    """Return the origin of a run; None if it is not a fork. Raises FolderError."""
    try:
        return reading.value(folder.origin, TypeAdapter(Origin))
    except FileNotFoundError:
        return None
    except Unreadable as error:
        raise FolderError(
            f"{folder.origin} does not say what the run was forked from: {error.strerror}; remove "
            "it, and the run counts as no fork"
        ) from error


def lineage(run: Path, step: float = math.inf) -> Iterator[tuple[Path, float, Changes]]:
    """Yield a run, then the run that it was forked from, and so on. With each yield the step up to
    which it led to the given step, and what the fork changed. Stop with a warning if an ancestor's
    file is invalid, if another run now has an ancestor's name, or if the chain comes back to a run
    already seen. Raises FolderError if the run's own file is invalid.
    """
    yield run, step, {}
    known, origin = {realpath(run)}, read(RunFolder(run))
    while origin:
        if realpath(origin.run) in known:
            warn(
                f"{with_names(run)}: its forks lead back to {origin.run}. A fork was renamed to "
                "the name of its origin; the origin's log is left out"
            )
            return
        if not origin.fits(origin.run):
            warn(
                f"{with_names(run)}: the run that it was forked from is gone, and {origin.run} is "
                "another run; the log before is left out"
            )
            return
        step = min(step, origin.step)
        yield origin.run, step, origin.changes
        known.add(realpath(origin.run))
        try:
            origin = read(RunFolder(origin.run))
        except FolderError as error:
            warn(with_names(f"{error}; the log before is left out"))
            return
