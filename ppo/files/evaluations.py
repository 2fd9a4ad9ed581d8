"""``evaluations.jsonl``: add a line, and read what it says about a run."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Gt, Lt
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ppo.files.atomic import write_whole
from ppo.files.folder import FolderError, RunFolder
from ppo.files.held import with_names
from ppo.files.lock import exclusive
from ppo.settings import ResolvedParams
from ppo.system import reading
from ppo.system.reading import SCORE_LIMIT, Step, Unreadable
from ppo.system.streams import warn, warn_of_skipped

Score = Annotated[float, Gt(-SCORE_LIMIT), Lt(SCORE_LIMIT)]
# Of an interval, which is wider than its scores if they are few.
Bound = Annotated[float, Gt(-100 * SCORE_LIMIT), Lt(100 * SCORE_LIMIT)]


class Line(BaseModel):
    """An evaluation. Unknown keys are kept as they are."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)

    step: Step
    policy: str
    scores: list[Score] = Field(min_length=1)
    mean: Score
    low: Bound | None = None
    high: Bound | None = None


def add(folder: RunFolder, record: Mapping[str, Any]) -> None:
    """Add a line unless the file already has a line with the same games. A resumed run may repeat
    an evaluation. Other processes may add lines at the same time. Raises FolderError.
    """
    with exclusive(folder.evaluations):
        same = ("step", "policy", "seed", "scores", "lengths")
        known = ([line.get(key) for key in same] for line in read(folder))
        if [record[key] for key in same] not in known:
            content = reading.content(folder.evaluations) if folder.evaluations.exists() else b""
            end = b"\n" if content and not content.endswith(b"\n") else b""
            write_whole(folder.evaluations, content + end + json.dumps(record).encode() + b"\n")


def best(folder: RunFolder, params: ResolvedParams, policy: str, until: int) -> float | None:
    """Return a policy's best mean score in the run's own evaluations up to a step, or None. These
    have the run's seed and number of games. Warn if the file is not readable.
    """
    try:
        lines = read(folder)
    except FolderError as error:
        warn(with_names(error))
        return None
    own = params.seed, params.evaluation_games
    means = [
        line["mean"]
        for line in lines
        if line["policy"] == policy and line["step"] <= until
        if (line.get("seed"), len(line["scores"])) == own
    ]
    return max(means, default=None)


def last(folder: RunFolder, policy: str, num_games: int, steps: range) -> dict[str, Any] | None:
    """Return the latest evaluation of a policy in this many games at one of the steps, or None."""
    lines = [line for line in read(folder) if line["policy"] == policy and line["step"] in steps]
    fitting = [line for line in reversed(lines) if len(line["scores"]) == num_games]
    return max(fitting, key=lambda line: line["step"], default=None)


def interval(line: Mapping[str, Any]) -> str:
    """Return the interval of an evaluation's mean, as "1.00 to 2.00". Equal scores have none."""
    return f"{line['low']:.2f} to {line['high']:.2f}" if len({*line["scores"]}) > 1 else ""


def read(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the evaluations, and warn of invalid lines, such as one cut off. Raises FolderError if
    the file is not readable.
    """
    try:
        lines, faults = reading.lines(folder.evaluations, TypeAdapter(Line))
    except FileNotFoundError:
        return []
    except Unreadable as error:
        raise FolderError(f"{error}; move it away, and a new one begins") from error
    warn_of_skipped(with_names(folder.evaluations), "line", faults)
    return [line.model_dump() for line in lines]
