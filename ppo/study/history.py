"""The log of a run as numbers, continued backwards into the runs that it was forked from."""

import csv
from pathlib import Path

from ppo.files import origin, progress
from ppo.files.folder import FolderError, RunFolder, check_run

POINTS, points = progress.POINTS, progress.points

Row = dict[str, float]


class HistoryError(Exception):
    """A run has no readable log; the message says why."""


def rows(run: Path) -> list[Row]:
    """The log entries of a run, before them those of the run it was forked from, up to the fork,
    and so on; each has its step, and what is not empty. Raises FolderError and HistoryError.
    """
    check_run(run)
    own = own_rows(run)
    began_from = origin.read(RunFolder(run))
    if began_from is None:
        return own
    try:
        before = rows(began_from.run)
    except (FolderError, HistoryError, OSError):  # it may have been moved away
        return own
    return [row for row in before if row["step"] <= began_from.step] + own


def own_rows(run: Path) -> list[Row]:
    """The log entries of a run itself. Raises HistoryError."""
    path = RunFolder(run).progress
    try:
        found = progress.numbers(run)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise HistoryError(f"{path} is not the log of a run: {error}") from error
    if any("step" not in row for row in found):
        raise HistoryError(f"{path} is not the log of a run: a row has no step")
    return found
