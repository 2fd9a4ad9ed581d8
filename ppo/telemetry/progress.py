"""Reading a run's ``progress.csv``, which may grow meanwhile: only complete rows count."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ppo.files import origin
from ppo.files.folder import FolderError, RunFolder, check_run
from ppo.files.held import with_names
from ppo.system import reading
from ppo.system.reading import Step, Unreadable
from ppo.system.streams import first_line, warn_of_skipped
from ppo.telemetry.scalars import POINTS, SCORE

LARGEST = 2**30  # bytes
LARGEST_SHOWN = 3.4e38  # an event file has float32, in which larger numbers are infinite
CELL_BYTES = 32  # a number has at most 24 characters

Row = dict[str, float]  # of a log: its step, and all values that are not empty


class _Entry(BaseModel):
    """A log entry: its step, and a number for each cell that is not empty."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, float]

    step: Step


def header(path: Path) -> tuple[list[str], bool]:
    """Return the columns that a log's first line names, none if there is no log, and whether its
    last line is complete. Raises FolderError if the file is not a log.
    """
    try:
        with reading.opened(path) as file:
            columns = _columns(path, file.readline(origin.LONGEST_LINE))
            file.seek(-1 if columns else 0, io.SEEK_END)
            return columns, file.read() in (b"", b"\n")
    except FileNotFoundError:
        return [], True
    except Unreadable as error:
        raise FolderError(str(error)) from error


def numbers(folder: Path) -> list[Row]:
    """Return the numbers in the valid rows of a run's log, except those that TensorBoard does not
    show: squares of larger ones may be infinite. Raises FolderError.
    """
    path = RunFolder(folder).progress
    try:
        head, *lines = reading.content(path, LARGEST).split(b"\n")
    except FileNotFoundError:
        return []
    except Unreadable as error:
        raise FolderError(str(error)) from error
    names, rows, faults = _columns(path, head), [], []
    for number, line in enumerate(lines[:-1], 2):
        try:
            cells = zip(names, _cells(line.decode()), strict=True)
            entry = _Entry.model_validate({tag: cell for tag, cell in cells if cell})
            rows.append({tag: value for tag, value in entry if abs(value) <= LARGEST_SHOWN})
        except ValidationError as error:
            faults.append(f"line {number}: {reading.first_fault(error)}")
        except (csv.Error, ValueError) as error:
            faults.append(f"line {number}: {error}")
    if len(faults) == len(lines) - 1 > 0:
        raise FolderError(f"{path}: not the log of a run: {first_line(faults[0])}")
    warn_of_skipped(with_names(path), "row", faults)
    return rows


def history(run: Path) -> list[Row]:
    """Return the log entries of a run, preceded by its origin's entries up to the fork, and so on.
    Raises FolderError.
    """
    log: list[Row] = []
    for place, until, _ in origin.lineage(run):
        try:
            check_run(place)
            log = [row for row in numbers(place) if row["step"] <= until] + log
        except FolderError:
            if place == run:
                raise
            break  # it may have been moved away
    return log


def points(row: Mapping[str, float]) -> float:
    """Return points per step: of the rollouts, else of the last 100 games, else NaN."""
    if POINTS in row:
        return row[POINTS]
    steps = row.get("rollout/ep_len_mean")
    return row.get(SCORE, math.nan) / steps if steps else math.nan


def last_row(folder: Path) -> dict[str, str]:
    """Return the last row alone. Raises OSError, FolderError, and ValueError if there is none."""
    path = RunFolder(folder).progress
    with reading.opened(path) as file:
        names = _columns(path, file.readline(origin.LONGEST_LINE))
        start = file.tell()
        end = file.seek(0, io.SEEK_END)
        # As much as two rows, because the last one may be incomplete.
        file.seek(max(start, end - 2 * CELL_BYTES * len(names)))
        lines = file.read().decode(errors="replace").split("\n")[:-1]
    if not lines:
        raise ValueError(f"{path} has no row yet")
    return dict(zip(names, _cells(lines[-1]), strict=True))


def _columns(path: Path, head: bytes) -> list[str]:
    try:
        names = _cells(head.decode("utf-8-sig", errors="replace").rstrip("\n"))
    except csv.Error as error:
        raise FolderError(f"{path}: not the log of a run ({error})") from error
    if names and "step" not in names:
        raise FolderError(f"{path}: not the log of a run: it has no column 'step'")
    if len(set(names)) < len(names):
        raise FolderError(f"{path}: not the log of a run: it has a column twice")
    return names


def _cells(line: str) -> list[str]:
    return next(csv.reader([line]), [])
