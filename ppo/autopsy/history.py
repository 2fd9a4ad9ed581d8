"""The log of a run as numbers, extended backwards into the runs from which it was forked."""

import math
from pathlib import Path

from ppo.errors import Refused
from ppo.files import origin
from ppo.files.folder import FolderError, RunFolder, check_run
from ppo.system.reading import Unreadable
from ppo.telemetry import progress

Row = dict[str, float]


class HistoryError(Refused):
    """A run has no readable log; the message says why."""


def rows(run: Path) -> list[Row]:
    """Return the log entries of a run, preceded by its origin's entries up to the fork, and so on.
    Each entry has its step and all values that are not empty. Raises FolderError and HistoryError.
    """
    check_run(run)
    log, until = own_rows(run), math.inf
    for began_from in origin.ancestors(RunFolder(run)):
        until = min(until, began_from.step)
        try:
            check_run(began_from.run)
            before = own_rows(began_from.run)
        except (FolderError, HistoryError):  # it may have been moved away
            break
        log = [row for row in before if row["step"] <= until] + log
    return log


def own_rows(run: Path) -> list[Row]:
    """Return only the run's own log entries. Raises HistoryError."""
    try:
        return progress.numbers(run)
    except Unreadable as error:
        raise HistoryError(str(error)) from error
