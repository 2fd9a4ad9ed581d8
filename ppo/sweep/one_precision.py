"""Give all runs of a sweep, or of a table of games, one precision, even if it is left open."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ppo.envs.registry import resolved
from ppo.files.folder import RunFolder
from ppo.params import ParamsError, load_run
from ppo.settings import Params
from ppo.sweep.grid import Run
from ppo.telemetry.figures import legible

RUN = re.compile(r".+-\d+")  # the name of a run's folder: it ends in the seed

OneRun = TypeVar("OneRun", bound=Run)
Settings = Callable[[OneRun], Params]


def unify_precision(
    runs: Sequence[OneRun], settings: Settings[OneRun], faults: list[str], gpu: bool = False
) -> list[OneRun]:
    """Choose one precision for the runs that leave it open. It is the precision of the runs already
    begun in their folders, or else what suits this machine: float32 if the runs have a GPU. If runs
    of several precisions have begun, add that to the faults.
    """
    every = ((run, settings(run)) for run in runs)
    # For vectors the precision is float32 everywhere.
    opened = [run for run, params in every if params.precision == "auto" and params.sees_images]
    if not opened:
        return list(runs)
    begun = _begun(opened)
    if len(begun) > 1:
        both = "; ".join(f"in {key} {', '.join(map(str, begun[key]))}" for key in sorted(begun))
        faults.append(
            f"precision is left open, but runs have begun {both}; move the runs of one precision "
            "to another folder"
        )
    for_all = next(iter(begun), None)
    chosen = for_all or ("float32" if gpu else resolved(settings(opened[0])).precision)
    return [
        replace(run, overrides=(*run.overrides, f"precision={chosen}")) if run in opened else run
        for run in runs
    ]


def precisions(variants: Mapping[str, Sequence[Path]]) -> str:
    """Return a sentence about the precision of each variant's runs; empty if no run reports it."""
    words: dict[str, str] = {}
    for name, folders in variants.items():
        read = set()
        for folder in folders:
            with suppress(ParamsError):
                params = load_run(RunFolder(folder).params)
                read |= set() if params.is_custom else {params.precision}  # it chooses its own
        words[name] = " and ".join(sorted(read))
    different = {*words.values()} - {""}
    if len(different) < 2:
        return "".join(f"All runs compute in {words}." for words in different)
    listed = (f"{legible(name)} {text}" for name, text in words.items() if text)
    return f"Precision: {'; '.join(listed)}."


def _begun(runs: Sequence[Run]) -> dict[str, list[Path]]:
    """Return the image runs already begun in the folders of these runs, by precision."""
    begun: dict[str, list[Path]] = {}
    for parent in sorted({run.folder.parent for run in runs}):
        for path in sorted(parent.glob("*/params.json")):
            with suppress(ParamsError):  # other checks refuse a run of this call
                params = load_run(path)
                if RUN.fullmatch(path.parent.name) and params.sees_images:
                    begun.setdefault(params.precision, []).append(path.parent)
    return begun
