"""Reading a run's ``progress.csv``, which may grow meanwhile: only rows that end count."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from ppo.files.folder import RunFolder

POINTS = "rollout/points_per_step"
ROW_BYTES = 16_384  # a row has about a tenth


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's log, each cell by its column; none if it has no log. Raises OSError."""
    path = RunFolder(folder).progress
    if not path.exists():
        return []
    text = path.read_text(errors="replace")
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))


def numbers(folder: Path) -> list[dict[str, float]]:
    """The same as numbers, without empty cells. Raises OSError, and ValueError, TypeError or
    csv.Error for what is no log.
    """
    return [{tag: float(text) for tag, text in row.items() if text} for row in rows(folder)]


def points(row: Mapping[str, float]) -> float:
    """Points per step: of the rollouts if they were logged, else of the last 100 games; NaN if
    there is neither.
    """
    if POINTS in row:
        return row[POINTS]
    steps = row.get("rollout/ep_len_mean")
    return row["rollout/ep_rew_mean"] / steps if steps else math.nan


def last_row(folder: Path) -> dict[str, str]:
    """The last row alone. Raises OSError, and ValueError if there is none."""
    path = RunFolder(folder).progress
    with open(path, "rb") as file:
        head = file.readline()
        start = file.tell()
        end = file.seek(0, io.SEEK_END)
        file.seek(max(start, end - ROW_BYTES))
        found = file.read().decode(errors="replace").split("\n")[:-1]
    if not found:
        raise ValueError(f"{path} has no row yet")
    columns, cells = csv.reader([head.decode().strip(), found[-1].strip()])
    return dict(zip(columns, cells, strict=True))
