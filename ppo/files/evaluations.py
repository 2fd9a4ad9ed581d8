"""``evaluations.jsonl``: a line more, and what it says of a run."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ppo.files.folder import RunFolder, alone_with, write_whole

KEYS = {"step", "policy", "mean", "low", "high", "scores"}  # of a line, among others


def add(folder: RunFolder, record: Mapping[str, Any]) -> None:
    """Add a line, unless the same games are there already, as after a resume from before the
    evaluation. Other processes may do so meanwhile.
    """
    with alone_with(folder.evaluations):
        told = _lines(folder)
        if not any(_same_games(one, record) for one in told):
            lines = [json.dumps(one) + "\n" for one in [*told, record]]
            write_whole(folder.evaluations, "".join(lines).encode())


def best(folder: RunFolder, policy: str, until: int) -> float | None:
    """The best mean score of a policy's evaluations up to a step; None if there is none."""
    means = []
    for told in _lines(folder):
        with suppress(ValueError, KeyError, TypeError):
            if told["policy"] == policy and told["step"] <= until:
                means.append(float(told["mean"]))
    return max(means, default=None)


def last(folder: RunFolder, policy: str, num_games: int) -> dict[str, Any] | None:
    """The latest step's evaluation of a policy in so many games; None if there is none."""
    found: dict[str, Any] | None = None
    for told in _lines(folder):
        with suppress(KeyError, TypeError):
            fits = told["policy"] == policy and len(told["scores"]) == num_games
            if fits and (found is None or told["step"] >= found["step"]):
                found = told
    return found


def whole(folder: RunFolder) -> list[dict[str, Any]]:
    """All evaluations whose line has everything, by step."""
    found = [told for told in _lines(folder) if isinstance(told, dict) and told.keys() >= KEYS]
    return sorted(found, key=lambda told: told["step"])


def _lines(folder: RunFolder) -> list[Any]:
    """What each line says. Lines that are none are passed over: the last one may have been cut
    off."""
    text = folder.evaluations.read_text(errors="replace") if folder.evaluations.exists() else ""
    told = []
    for line in text.splitlines():
        with suppress(ValueError):
            told.append(json.loads(line))
    return told


def _same_games(one: Any, other: Mapping[str, Any]) -> bool:
    keys = ("step", "policy", "seed", "scores", "lengths")
    return isinstance(one, dict) and all(one.get(key) == other[key] for key in keys)
