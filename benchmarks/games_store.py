"""Finished runs of ``benchmarks.games`` in one file, whichever folder and machine made them."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.games_results import Kind, Result
from ppo.files.atomic import write_whole
from ppo.files.folder import FolderError, check_parent
from ppo.files.lock import exclusive
from ppo.system import reading
from ppo.system.streams import reason


def faults(path: Path, kind: type = Result) -> list[str]:
    """Why the file of results of a kind cannot be used; one that is not there has none yet."""
    try:
        check_parent(path)
        load(path, kind)
    except (FolderError, OSError) as error:
        return [f"--results={path} cannot be used: {reason(error)}"]
    return []


def load(path: Path, kind: type = Result) -> list[Any]:
    """The results in the file; none if it is not there. Raises Unreadable."""
    return reading.all_lines(path, TypeAdapter(kind)) if path.exists() else []


def add(path: Path, results: Iterable[Result], machine: str) -> list[Result]:
    """Add runs of a machine to the file and return all that it then has. A run that is there stays
    as it was noted; if it was noted without its curve, that is added.
    """
    with exclusive(path):
        runs = {identity(result): result for result in load(path)}
        for result in results:
            noted = dataclasses.replace(result, machine=machine)
            there = runs.setdefault(identity(result), noted)
            if not there.curve and there.scores == result.scores:
                runs[identity(result)] = dataclasses.replace(there, curve=result.curve)
        stored = [runs[key] for key in sorted(runs)]
        lines = [json.dumps(dataclasses.asdict(result)) for result in stored]
        write_whole(path, "".join(f"{line}\n" for line in lines).encode())
    return stored


def different(path: Path, results: Iterable[Result]) -> list[str]:
    """Which runs the file has already, with other scores."""
    there = {identity(result): result.scores for result in load(path)}
    return [
        f"{result.kind}: {result.game}, seed {result.seed}"
        for result in results
        if there.get(identity(result), result.scores) != result.scores
    ]


def identity(result: Result) -> tuple[Kind, str, int]:
    """What no two runs have in common."""
    return result.kind, result.game, result.seed
