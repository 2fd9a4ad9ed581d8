"""Saving and restoring the whole of a run: a checkpoint is there whole and sound, or absent.

A checkpoint is one file: a line with the format and the SHA-256 of the rest, then NumPy's
``npz``, read without pickle, so that loading never runs code from the file.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppo.folder import RunFolder, write_whole

FORMAT = b"ppo-checkpoint-2"
BEST = "best.ckpt"


class CheckpointError(Exception):
    """No sound checkpoint, or one that does not fit; the message says what to do."""


class MisfitError(CheckpointError):
    """A sound checkpoint, but of another network; the message says how it differs."""


@dataclass(frozen=True)
class Checkpoint:
    """State at the end of an iteration: arrays by name, and ``facts``, anything JSON can say."""

    step: int
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    def group(self, name: str) -> list[np.ndarray]:
        """The arrays saved as ``name/0``, ``name/1`` and so on, in order."""
        numbers = range(sum(key.startswith(f"{name}/") for key in self.arrays))
        return [self.arrays[f"{name}/{number}"] for number in numbers]


def grouped(name: str, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays under the names that ``Checkpoint.group`` finds them by."""
    return {f"{name}/{number}": array for number, array in enumerate(arrays)}


def check_fit(arrays: list[np.ndarray], places: list[np.ndarray]) -> None:
    """Raise MisfitError unless the arrays have the shapes of those whose places they take."""
    theirs, ours = ([array.shape for array in some] for some in (arrays, places))
    if theirs != ours:
        raise MisfitError(
            f"the checkpoint does not fit the settings: its weights are {theirs}, the network's "
            f"{ours}; was params.json changed by hand?"
        )


def save(folder: RunFolder, checkpoint: Checkpoint, kept: int, best: bool = False) -> Path:
    """Write a checkpoint, as ``best.ckpt`` too if it is that, then remove all but the newest
    ``kept``.
    """
    folder.checkpoints.mkdir(exist_ok=True)
    path = folder.checkpoints / f"step-{checkpoint.step:012d}.ckpt"
    content = encode(checkpoint)
    if best:  # first, since the other one says that the best is saved
        write_whole(folder.checkpoints / BEST, content)
    write_whole(path, content)
    # Later ones are unsound, or the run would have gone on from them; they do not count.
    paths = _newest_first(folder)
    place = paths.index(path)
    for old in [*paths[:place], *paths[place + kept :]]:
        old.unlink()
    return path


def steps(folder: RunFolder) -> list[int]:
    """The steps of which there is a checkpoint file, newest first."""
    return [int(path.stem.removeprefix("step-")) for path in _newest_first(folder)]


def newest(folder: RunFolder, warn: Callable[[str], None] = lambda _: None) -> Checkpoint:
    """The newest sound checkpoint, the best one if no other is; ``warn`` is told of each unsound
    one that is passed over.

    Raises CheckpointError if none is sound; nothing is changed.
    """
    paths = [*_newest_first(folder), *folder.checkpoints.glob(BEST)]
    for path in paths:
        try:
            return decode(path.read_bytes())
        except (CheckpointError, OSError) as error:
            warn(f"{path} is passed over: {error}")
    found = f"none of {len(paths)} checkpoints is sound" if paths else "there is no checkpoint"
    raise CheckpointError(f"{folder.checkpoints}: {found}; nothing was changed")


def load_weights(logdir: str | Path) -> list[np.ndarray]:
    """The network's weights, in its own order, from the newest sound checkpoint of a run."""
    return newest(RunFolder(Path(logdir))).group("weights")


def encode(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as the content of its file."""
    facts = json.dumps({"step": checkpoint.step, "facts": checkpoint.facts}).encode()
    buffer = io.BytesIO()
    np.savez(buffer, facts=np.frombuffer(facts, np.uint8), **checkpoint.arrays)  # type: ignore[arg-type]
    body = buffer.getvalue()
    return b"%s %s\n%s" % (FORMAT, hashlib.sha256(body).hexdigest().encode(), body)


def decode(content: bytes) -> Checkpoint:
    """The checkpoint in a file's content. Raises CheckpointError if anything is wrong with it."""
    head, newline, body = content[:200].partition(b"\n")[0], content.find(b"\n"), b""
    if newline < 0 or not re.fullmatch(rb"ppo-checkpoint-\d+ [0-9a-f]{64}", head):
        raise CheckpointError("it is no checkpoint, or its first line is damaged")
    name, checksum = head.split()
    if name != FORMAT:
        raise CheckpointError(
            f"its format is {name.decode()}; this version reads {FORMAT.decode()}"
        )
    body = content[newline + 1 :]
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise CheckpointError("its checksum is wrong: it is cut short or damaged")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        head_facts = json.loads(arrays.pop("facts").tobytes())
        return Checkpoint(head_facts["step"], arrays, head_facts["facts"])
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"its content cannot be read: {error}") from error


def _newest_first(folder: RunFolder) -> list[Path]:
    return sorted(folder.checkpoints.glob("step-*.ckpt"), reverse=True)
