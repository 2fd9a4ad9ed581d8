"""Saving and restoring a run's complete state: a checkpoint is whole and valid, or absent.

A checkpoint is one file: a line with the format and the SHA-256 of the rest, then NumPy's
``npz``, read without pickle, so that loading never runs code from the file. Besides arrays it
holds facts about the run as JSON, validated by the models below.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Lt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppo.files.folder import RunFolder, write_whole

FORMAT = 3
BEST = "best.ckpt"

Count = Annotated[int, Ge(0)]


class CheckpointError(Exception):
    """No valid checkpoint, or one that does not fit; the message says what to do."""


class MisfitError(CheckpointError):
    """A valid checkpoint that does not fit the settings; the message says how it differs."""

    def __init__(self, step: int, reason: object):
        super().__init__(
            f"the checkpoint of step {step} does not fit the settings: {reason}; was params.json "
            "changed by hand? Nothing was changed"
        )


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UnfinishedFacts(_Facts):
    """How an unfinished episode began; its actions are among the arrays."""

    seeds_used: Count
    seed: Annotated[int, Ge(0), Lt(2**31)]
    resets: Count


class TrainerFacts(_Facts):
    """The trainer's state, besides its arrays."""

    iteration: Count = 0
    epochs: Count = 0
    games_played: Count = 0
    best_score: float | None = None
    recent: tuple[tuple[float, Count], ...] = ()
    unfinished: tuple[UnfinishedFacts, ...] = ()


class Due(_Facts):
    """What an interval has made due and is not done yet."""

    log: bool = False
    evaluation: bool = False
    video: bool = False


class SessionFacts(_Facts):
    """The state of everything around the trainer; the defaults are those of a new run."""

    best_saved: float | None = None
    seconds: float = 0.0
    means: dict[str, tuple[float, Count]] = Field(default_factory=dict)
    due: Due = Due()
    params: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    schedules: tuple[float, float] | None = None
    log: dict[str, Count] = Field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """State at the end of an iteration: arrays by name, and facts."""

    step: int
    arrays: dict[str, np.ndarray]
    trainer: TrainerFacts = field(default_factory=TrainerFacts)
    session: SessionFacts = field(default_factory=SessionFacts)

    def group(self, name: str) -> list[np.ndarray]:
        """The arrays saved as ``name/0``, ``name/1`` and so on, in order."""
        numbers = range(sum(key.startswith(f"{name}/") for key in self.arrays))
        return [self.arrays[f"{name}/{number}"] for number in numbers]


def grouped(name: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under the names by which ``Checkpoint.group`` finds them."""
    return {f"{name}/{number}": array for number, array in enumerate(arrays)}


def save(folder: RunFolder, checkpoint: Checkpoint, kept: int, best: bool = False) -> Path:
    """Write a checkpoint, if ``best`` also as ``best.ckpt``, then remove all but the newest
    ``kept``.
    """
    folder.checkpoints.mkdir(exist_ok=True)
    path = folder.checkpoints / f"step-{checkpoint.step:012d}.ckpt"
    content = encode(checkpoint)
    if best:  # first, since the other one records that the best is saved
        write_whole(folder.checkpoints / BEST, content)
    write_whole(path, content)
    # Later ones are invalid, or the run would have resumed from them; they do not count.
    paths = _newest_first(folder)
    place = paths.index(path)
    for old in [*paths[:place], *paths[place + kept :]]:
        old.unlink()
    return path


def steps(folder: RunFolder) -> list[int]:
    """The steps that have a checkpoint file, newest first."""
    return [int(path.stem.removeprefix("step-")) for path in _newest_first(folder)]


def newest(folder: RunFolder, warn: Callable[[str], None] = lambda _: None) -> Checkpoint:
    """The newest valid checkpoint, the best one if no other is; ``warn`` is called for each
    invalid one that is skipped.

    Raises CheckpointError if none is valid; nothing is changed.
    """
    paths = [*_newest_first(folder), *folder.checkpoints.glob(BEST)]
    for path in paths:
        try:
            return decode(path.read_bytes())
        except (CheckpointError, OSError) as error:
            warn(f"{path} is skipped: {error}")
    found = f"none of {len(paths)} checkpoints is valid" if paths else "there is no checkpoint"
    raise CheckpointError(f"{folder.checkpoints}: {found}; nothing was changed")


def load_weights(logdir: str | Path) -> list[np.ndarray]:
    """The network's weights, in its own order, from the newest valid checkpoint of a run."""
    return newest(RunFolder(Path(logdir))).group("weights")


def encode(checkpoint: Checkpoint) -> bytes:
    """The content of a checkpoint's file."""
    facts = {
        "step": checkpoint.step,
        "trainer": checkpoint.trainer.model_dump(),
        "session": checkpoint.session.model_dump(),
    }
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    np.savez(buffer, facts=text, **checkpoint.arrays)  # type: ignore[arg-type]
    body = buffer.getvalue()
    checksum = hashlib.sha256(body).hexdigest().encode()
    return b"ppo-checkpoint-%d %s\n%s" % (FORMAT, checksum, body)


def decode(content: bytes) -> Checkpoint:
    """The checkpoint in a file's content. Raises CheckpointError if anything is wrong with it."""
    head, newline, _ = content[:200].partition(b"\n")
    found = re.fullmatch(rb"ppo-checkpoint-(\d+) ([0-9a-f]{64})", head) if newline else None
    if not found:
        raise CheckpointError("it is not a checkpoint, or its first line is damaged")
    number, checksum = int(found[1]), found[2]
    if number not in _READERS:
        raise CheckpointError(
            f"its format is ppo-checkpoint-{number}; this version reads the formats "
            f"{' and '.join(map(str, _READERS))}"
        )
    body = content[len(head) + 1 :]
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise CheckpointError("its checksum is wrong: it is truncated or damaged")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        facts = _READERS[number](json.loads(arrays.pop("facts").tobytes()))
        return Checkpoint(
            int(facts["step"]),
            arrays,
            TrainerFacts.model_validate(facts["trainer"]),
            SessionFacts.model_validate(facts["session"]),
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"its {where} is no state of a run: {first['msg']}") from error
    except (LookupError, ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"its content cannot be read: {error}") from error


def _from_format_2(flat: dict[str, Any]) -> dict[str, Any]:
    """The facts of format 2, which had those of trainer and session in one object, and lists
    without names.
    """
    facts = flat["facts"]
    names = UnfinishedFacts.model_fields
    trainer = {key: facts[key] for key in TrainerFacts.model_fields if key != "unfinished"}
    trainer["unfinished"] = [dict(zip(names, row, strict=True)) for row in facts["unfinished"]]
    session = {key: facts[key] for key in SessionFacts.model_fields if key != "due"}
    session["due"] = dict(zip(Due.model_fields, facts["due"], strict=True))
    return {"step": flat["step"], "trainer": trainer, "session": session}


_READERS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    2: _from_format_2,
    3: lambda facts: facts,
}


def _newest_first(folder: RunFolder) -> list[Path]:
    return sorted(folder.checkpoints.glob("step-*.ckpt"), reverse=True)
