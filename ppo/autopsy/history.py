"""The log of a run as numbers, extended backwards into the runs from which it was forked."""

from pathlib import Path

from ppo.errors import Refused
from ppo.files import origin
from ppo.files.folder import FolderError, check_run
from ppo.system.reading import Unreadable
from ppo.telemetry import progress

Row = dict[str, float]


class HistoryError(Refused):
    """A run has no readable log; the message says why."""


def rows(run: Path) -> list[Row]:
    """Return the log entries of a run, preceded by its origin's entries up to the fork, and so on.
    Each entry has its step and all values that are not empty. Raises FolderError and HistoryError.
    """
    log: list[Row] = []
    for place, until, _ in origin.lineage(run):
        try:
            check_run(place)
            log = [row for row in own_rows(place) if row["step"] <= until] + log
        except (FolderError, HistoryError):
            if place == run:
                raise
            break  # it may have been moved away
    return log


def own_rows(run: Path) -> list[Row]:
    """Return only the run's own log entries. Raises HistoryError."""
    try:
        return progress.numbers(run)
    except Unreadable as error:
        raise HistoryError(str(error)) from error
