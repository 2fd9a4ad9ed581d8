"""``evaluations.jsonl``: add a line, and read what it says about a run."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Gt, Lt
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ppo.files.folder import FolderError, RunFolder, exclusive, write_whole
from ppo.files.held import with_names
from ppo.settings import ResolvedParams
from ppo.system import reading
from ppo.system.reading import SCORE_LIMIT, Step, Unreadable
from ppo.system.streams import warn, warn_of_skipped

Score = Annotated[float, Gt(-SCORE_LIMIT), Lt(SCORE_LIMIT)]
# Of an interval, which is wider than its scores if they are few.
Bound = Annotated[float, Gt(-100 * SCORE_LIMIT), Lt(100 * SCORE_LIMIT)]


class EvaluationsError(FolderError):
    """The file does not contain evaluations. The message says why and what to do."""


class Line(BaseModel):
    """An evaluation. Unknown keys are kept as they are."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)

    step: Step
    policy: str
    scores: list[Score] = Field(min_length=1)
    mean: Score
    low: Bound | None = None
    high: Bound | None = None


def check(folder: RunFolder) -> None:
    """Raise EvaluationsError if the file cannot be read."""
    _lines(folder)


def add(folder: RunFolder, record: Mapping[str, Any]) -> None:
    """Add a line unless the file already has a line with the same games. A resumed run may repeat
    an evaluation. Other processes may add lines at the same time. Raises EvaluationsError.
    """
    with exclusive(folder.evaluations):
        same = ("step", "policy", "seed", "scores", "lengths")
        known = ([line.get(key) for key in same] for line in _lines(folder))
        if [record[key] for key in same] not in known:
            lines = _whole_lines(folder) + json.dumps(record).encode() + b"\n"
            write_whole(folder.evaluations, lines)


def best(folder: RunFolder, params: ResolvedParams, policy: str, until: int) -> float | None:
    """Return a policy's best mean score in the run's own evaluations up to a step, or None. These
    have the run's seed and number of games. Warn if the file is not readable.
    """
    try:
        lines = _lines(folder)
    except EvaluationsError as error:
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
    lines = [line for line in _lines(folder) if line["policy"] == policy and line["step"] in steps]
    fitting = [line for line in reversed(lines) if len(line["scores"]) == num_games]
    return max(fitting, key=lambda line: line["step"], default=None)


def with_intervals(folder: RunFolder) -> list[dict[str, Any]]:
    """Return all evaluations that have an interval, by step. Raises EvaluationsError."""
    lines = [line for line in _lines(folder) if None not in (line["low"], line["high"])]
    return sorted(lines, key=lambda line: line["step"])


def interval(line: Mapping[str, Any]) -> str:
    """Return the interval of an evaluation's mean, as "1.00 to 2.00". One game has none."""
    return f"{line['low']:.2f} to {line['high']:.2f}" if len(line["scores"]) > 1 else ""


def _lines(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the evaluations, and warn of invalid lines, such as one cut off. Raises
    EvaluationsError if the file is not readable.
    """
    try:
        lines, faults = reading.lines(folder.evaluations, TypeAdapter(Line))
    except FileNotFoundError:
        return []
    except Unreadable as error:
        raise EvaluationsError(f"{error}; move it away, and a new one begins") from error
    warn_of_skipped(with_names(folder.evaluations), "line", faults)
    return [line.model_dump() for line in lines]


def _whole_lines(folder: RunFolder) -> bytes:
    """Return the file as it is, valid or not, but without a last line that was cut off."""
    try:
        content = reading.content(folder.evaluations)
    except FileNotFoundError:
        return b""
    lines, end, rest = content.rpartition(b"\n")
    try:
        reading.parse(rest.decode())
    except ValueError:
        return lines + end
    return content + b"\n"
