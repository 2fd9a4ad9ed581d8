"""Saving and restoring a run's complete state: a checkpoint is whole and valid, or absent.

A checkpoint is one file: a line with the format and the SHA-256 of the rest, then NumPy's ``npz``.
It is read without pickle, so loading never runs code from the file. It holds arrays, and the states
of the run's parts as JSON.
"""

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from ppo.errors import PPOError, Refused
from ppo.files import npz
from ppo.files.atomic import write_whole
from ppo.files.folder import RunFolder, free_name
from ppo.settings import limits
from ppo.system import reading
from ppo.system.arguments import expanded
from ppo.system.device import available_memory
from ppo.system.streams import first_line, reason
from ppo.telemetry.collapse import Watch
from ppo.telemetry.counters import Count, Tally

FORMATS = (2, 3, 4)  # the last is written
BEST = "best.ckpt"
NAME = re.compile(r"step-([0-9]{12}|[1-9][0-9]{12,})\.ckpt")

Which = Literal["newest", "best"] | int


class CheckpointError(PPOError):
    """No valid checkpoint, or one that does not fit; the message says why."""


class NoCheckpoint(CheckpointError, Refused):
    """The checkpoint does not exist; the message lists the existing ones."""


class NewerVersionError(CheckpointError, Refused):
    """A checkpoint of a newer version, which is neither read nor skipped."""


class MisfitError(CheckpointError, Refused):
    """A valid checkpoint that does not fit the settings; the message says how it differs."""

    def __init__(self, step: int, reason: object):
        super().__init__(
            f"the checkpoint of step {step:,} does not fit the settings: {reason}. Check "
            "params.json for edits. The run is unchanged"
        )


class State(BaseModel):
    """What a part of a run keeps in a checkpoint. Each part defines its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyState = TypeVar("AnyState", bound=State)


class UnfinishedFacts(State):
    """How an unfinished episode began; its actions are among the arrays."""

    seeds_used: Count
    seed: int = Field(**limits("seed"))
    resets: Count


class TrainerFacts(State):
    """The trainer's state, besides its arrays. ``observations`` is a checksum of what the
    unfinished episodes show; ``schedules`` are the learning rate and clip range of the next update.
    """

    tally: Tally = Tally()
    seed_every_episode: bool = False
    observations: Count | None = None
    unfinished: tuple[UnfinishedFacts, ...] = ()
    workers: Count = 1
    schedules: tuple[FiniteFloat, FiniteFloat] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """State at the end of an iteration: arrays by name, the trainer's state, and the states of the
    run's other parts by name. Each part validates its own state.
    """

    step: int
    arrays: dict[str, np.ndarray]
    trainer: TrainerFacts = field(default_factory=TrainerFacts)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def part(self, name: str, kind: type[AnyState]) -> AnyState:
        """Return a part's state, a new one if it is missing. Raises CheckpointError."""
        try:
            return kind.model_validate(self.parts.get(name, {}))
        except ValidationError as error:
            subject = f"the checkpoint of step {self.step:,}"
            raise _error_about(subject, _invalid(error, name)) from error

    def with_part(self, name: str, state: State) -> "Checkpoint":
        return replace(self, parts=self.parts | {name: state.model_dump()})

    def group(self, name: str) -> list[np.ndarray]:
        """Return the arrays saved as ``name/0``, ``name/1`` and so on, in order."""
        keys = [f"{name}/{n}" for n in range(sum(k.startswith(f"{name}/") for k in self.arrays))]
        if missing := [key for key in keys if key not in self.arrays]:
            raise CheckpointError(f"the checkpoint of step {self.step:,} lacks {missing[0]}")
        return [self.arrays[key] for key in keys]


def grouped(name: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under the names by which ``Checkpoint.group`` finds them."""
    return {f"{name}/{number}": array for number, array in enumerate(arrays)}


def save(
    folder: RunFolder,
    checkpoint: Checkpoint,
    kept: int,
    keep_all: range = range(0),
    best: bool = False,
) -> None:
    """Write a checkpoint, if ``best`` also as ``best.ckpt``. Then remove all others except the
    newest ``kept`` and the steps in ``keep_all``. Checkpoints of later steps exist only if a
    resume skipped them. They are renamed first. Otherwise a later resume would continue from a
    valid one, although the log no longer matches.
    """
    folder.checkpoints.mkdir(exist_ok=True)
    content = encode(checkpoint)
    for step, other in _by_step(folder).items():
        if step > checkpoint.step:
            _set_aside(other)
    if best:  # first, because the step's checkpoint already records its score
        write_whole(folder.checkpoints / BEST, content)
    write_whole(folder.checkpoints / _name(checkpoint.step), content)
    prune(folder, checkpoint.step, kept, keep_all)


def set_aside_later_best(folder: RunFolder, step: int) -> bool:
    """Rename ``best.ckpt`` if it is of a later step, which a resume skipped. Return whether."""
    path = folder.checkpoints / BEST
    with suppress(FileNotFoundError, CheckpointError):
        if read(path).step > step:
            _set_aside(path)
            return True
    return False


def _set_aside(path: Path) -> None:
    aside = path.with_name(f"{path.name}.skipped")
    path.rename(free_name(aside) if aside.exists() else aside)


def prune(folder: RunFolder, step: int, kept: int, keep_all: range = range(0)) -> None:
    """Remove checkpoints up to ``step``, except the newest ``kept`` and those in ``keep_all``."""
    own = [(n, path) for n, path in _by_step(folder).items() if n <= step and path.is_file()]
    for number, old in own[kept:]:
        if number not in keep_all:
            old.unlink()


def steps(folder: RunFolder) -> list[int]:
    """Return the steps that have a checkpoint file, newest first."""
    return list(_by_step(folder))


def newest(folder: RunFolder, warn: Callable[[str], None] = lambda _: None) -> Checkpoint:
    """Return the newest valid checkpoint, or the best one if no other is valid. ``warn`` is called
    for each invalid checkpoint that is skipped. If a run in progress removes a file meanwhile,
    the search starts again.

    Raises CheckpointError if none is valid, NewerVersionError for a checkpoint of a newer version.
    Changes nothing.
    """
    paths = [*_by_step(folder).values(), *folder.checkpoints.glob(BEST)]
    for path in paths:
        try:
            return read(path)
        except NewerVersionError as error:
            error.add_note("To use an older checkpoint, move the file away.")
            raise
        except (CheckpointError, FileNotFoundError) as error:
            if not os.path.lexists(path):
                return newest(folder, warn)
            warn(f"{error}; it is skipped")
    problem = f"none of {len(paths)} checkpoints is valid" if paths else "there is no checkpoint"
    raise CheckpointError(f"{folder.checkpoints}: {problem}; nothing was changed")


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, of Python or NumPy; True and False are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def chosen(
    folder: RunFolder, which: Which, warn: Callable[[str], None] = lambda _: None
) -> Checkpoint:
    """Return the newest valid checkpoint, the best, or a step's own. Raises CheckpointError."""
    if which == "newest":
        return newest(folder, warn)
    if which != "best" and not is_whole(which):
        raise NoCheckpoint(f"{which!r} is neither newest nor best nor a step")
    path = folder.checkpoints / (BEST if which == "best" else _name(which))
    try:
        return read(path)
    except FileNotFoundError as error:
        there = ", ".join(f"{other:,}" for other in steps(folder)) or "none"
        what = "best checkpoint" if which == "best" else f"checkpoint of step {which:,}"
        raise NoCheckpoint(f"{folder.path} has no {what}; there is: {there}") from error


def _error_about(subject: object, error: Exception) -> CheckpointError:
    """Put its subject before an error, and the remedy after a newer version's."""
    if not isinstance(error, NewerVersionError):
        return CheckpointError(f"{subject}: {reason(error)}")
    return NewerVersionError(
        f"{subject} was made by a newer version: {error}. Use that version; nothing was changed"
    )


def load_weights(logdir: str | Path) -> list[np.ndarray]:
    """Return the network's weights, in its own order, from a run's newest valid checkpoint. Raises
    CheckpointError if there is none.
    """
    return newest(RunFolder(expanded(logdir))).group("weights")


def encode(checkpoint: Checkpoint) -> bytes:
    """Return the content of a checkpoint's file."""
    trainer = checkpoint.trainer.model_dump()
    facts = {"step": checkpoint.step, "trainer": trainer, "parts": checkpoint.parts}
    body = npz.pack(checkpoint.arrays, facts)
    checksum = hashlib.sha256(body).hexdigest().encode()
    return b"ppo-checkpoint-%d %s\n%s" % (FORMATS[-1], checksum, body)


def decode(content: bytes) -> Checkpoint:
    """Parse the content of a checkpoint file. Raises CheckpointError if it has any fault."""
    head, newline, _ = content[:200].partition(b"\n")
    match = re.match(rb"ppo-checkpoint-(\d+)\b(?: ([0-9a-f]{64})$)?", head)
    number = int(match[1]) if match else FORMATS[-1]
    if number not in FORMATS:
        kind = NewerVersionError if number > FORMATS[-1] else CheckpointError
        raise kind(
            f"its format is ppo-checkpoint-{number}; this version reads the formats "
            f"{', '.join(map(str, FORMATS))}"
        )
    if not (match and match[2] and newline):
        raise CheckpointError("it is not a checkpoint, or its first line is damaged")
    body = content[len(head) + 1 :]
    if hashlib.sha256(body).hexdigest().encode() != match[2]:
        raise CheckpointError("its checksum is wrong: it is truncated or damaged")
    try:
        return _decode(number, body)
    except ValidationError as error:
        raise _invalid(error, "trainer") from error
    except Exception as error:  # a crafted file may raise anything
        raise CheckpointError(f"its content cannot be read: {first_line(error)}") from error


def _decode(number: int, body: bytes) -> Checkpoint:
    facts, arrays = npz.unpack_with_facts(body)
    if number == 2:
        facts = _from_format_2(facts)
    if number < 4:
        facts = _from_format_3(facts)
    if type(facts["step"]) is not int or not 0 <= facts["step"] < 2**62:
        raise ValueError("its step is not a number of steps")
    if not all(isinstance(part, dict) for part in facts["parts"].values()):
        raise ValueError("its parts are not objects")
    for key, array in arrays.items():
        unfit = array.size and (array.dtype.kind not in "iu" or array.min() < 0)
        if key.startswith("actions/") and (unfit or array.ndim != 1):
            raise ValueError(f"its {key} is not a list of actions")
    trainer = TrainerFacts.model_validate(facts["trainer"])
    return Checkpoint(facts["step"], arrays, trainer, facts["parts"])


def _invalid(error: ValidationError, part: str) -> CheckpointError:
    fault = error.errors()[0]
    where = ".".join(map(str, [part, *fault["loc"]]))
    # The checksum is right, so an unknown field was written by a newer version.
    unknown = fault["type"] in ("extra_forbidden", "unexpected_keyword_argument")
    kind = NewerVersionError if unknown else CheckpointError
    return kind(f"its field {where} is invalid: {fault['msg']}")


def _from_format_2(flat: dict[str, Any]) -> dict[str, Any]:
    """Convert the facts of format 2, whose lists had no names, to format 3."""
    # For example {"step": 9, "facts": {"iteration": 3, "best_saved": 1.5, "due": [true, false,
    # false], "unfinished": [[7, 1234, 0]], ...}}.
    facts, names = flat["facts"], UnfinishedFacts.model_fields
    trainer_keys = ("iteration", "epochs", "games_played", "best_score", "recent")
    session_keys = ("best_saved", "seconds", "means", "params", "versions", "schedules", "log")
    trainer, session = ({key: facts[key] for key in keys} for keys in (trainer_keys, session_keys))
    trainer["unfinished"] = [dict(zip(names, row, strict=True)) for row in facts["unfinished"]]
    session["due"] = dict(zip(("log", "evaluation", "video"), facts["due"], strict=True))
    return {"step": flat["step"], "trainer": trainer, "session": session}


def _from_format_3(facts: dict[str, Any]) -> dict[str, Any]:
    """Convert the facts of format 3, which had two parts, trainer and session, to format 4."""
    # For example {"step": 9, "trainer": {"iteration": 3, "games_played": 5, ...}, "session":
    # {"best_saved": 1.5, "due": {"log": true}, "guard": {"evidence": 0.0, ...}, ...}}.
    trainer, run = dict(facts["trainer"]), dict(facts["session"])
    due, guard, settings = run.pop("due", {}), dict(run.pop("guard", {})), run.get("params", {})
    names = {"games_played": "episodes"} | {field.name: field.name for field in fields(Tally)}
    tally = {new: trainer.pop(old) for old, new in names.items() if old in trainer}
    if tally.get("rate_share") is None:  # rollbacks halved the rate before the share was stored
        tally["rate_share"] = 0.5 ** tally.get("rollbacks", 0)
    trainer |= {"tally": tally, "workers": settings.get("workers", 1)}
    trainer["schedules"] = run.pop("schedules", None)
    watch = {field.name: guard.pop(field.name) for field in fields(Watch) if field.name in guard}
    guard |= {"watch": watch, "warned": guard.pop("told", False)}
    parts = {
        "guard": guard | {"mode": settings.get("collapse_guard")},
        "log": {
            "due": due.get("log", False),
            "means": run.pop("means", {}),
            "sizes": run.pop("log", {}),
        },
        "evaluation": {"due": due.get("evaluation", False)},
        "video": {"wanted": due.get("video", False), "shown": run.pop("pictured", None)},
        "replay_check": {"wanted": due.get("replay_check", False)},
        "run": run,
    }
    return {"step": facts["step"], "trainer": trainer, "parts": parts}


def read(path: Path) -> Checkpoint:
    """Read the checkpoint in a file. Raises FileNotFoundError if there is none, and
    CheckpointError, also if the file is named after another step.
    """
    try:
        with reading.opened(path) as file:
            if path.stat().st_size > available_memory():
                raise CheckpointError("it is larger than the available memory")
            saved = decode(file.read())
        if NAME.fullmatch(path.name) and path.name != _name(saved.step):
            raise CheckpointError(f"it contains step {saved.step:,}, so the file was renamed")
    except FileNotFoundError:
        raise
    except (CheckpointError, OSError) as error:
        raise _error_about(path, error) from error
    return saved


def _name(step: int) -> str:
    return f"step-{step:012d}.ckpt"


def _by_step(folder: RunFolder) -> dict[int, Path]:
    """Return the run's own checkpoints, newest first, without files of other names."""
    named = ((NAME.fullmatch(path.name), path) for path in folder.checkpoints.glob("step-*.ckpt"))
    return dict(sorted(((int(match[1]), path) for match, path in named if match), reverse=True))
