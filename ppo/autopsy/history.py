"""The log of a run as numbers, extended backwards into the runs from which it was forked."""

from pathlib import Path

from ppo.files import origin
from ppo.files.folder import FolderError, check_run
from ppo.telemetry import progress

Row = dict[str, float]


def rows(run: Path) -> list[Row]:
    """Return the log entries of a run, preceded by its origin's entries up to the fork, and so on.
    Each entry has its step and all values that are not empty. Raises FolderError.
    """
    log: list[Row] = []
    for place, until, _ in origin.lineage(run):
        try:
            check_run(place)
            log = [row for row in progress.numbers(place) if row["step"] <= until] + log
        except FolderError:
            if place == run:
                raise
            break  # it may have been moved away
    return log
