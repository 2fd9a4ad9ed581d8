"""Runs that are averaged or compared have one precision, also where it was left open."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ppo.params import ParamsError, load
from ppo.resolve import resolved
from ppo.settings import Params
from ppo.study.grid import Run

OneRun = TypeVar("OneRun", bound=Run)


def alike(runs: Sequence[OneRun], settings: Callable[[OneRun], Params]) -> list[OneRun]:
    """The runs; those that leave the precision open are given the one that runs in the same folders
    began with, on whichever machine, or else that of this machine. Raises ParamsError.
    """
    opened = [run for run in runs if _is_open(settings(run))]
    if not opened:
        return list(runs)
    folders = {run.folder.parent for run in opened}
    begun = {*itertools.chain.from_iterable(map(_begun, folders))}
    if len(begun) > 1:
        raise ParamsError(
            [
                f"precision is left open, and runs have begun in {' and '.join(sorted(begun))}; "
                "set it, and use another --logdir for runs that have another one"
            ]
        )
    (chosen,) = begun or {resolved(settings(opened[0])).precision}
    told = f"precision={chosen}"
    return [
        replace(run, overrides=(*run.overrides, told)) if run in opened else run for run in runs
    ]


def _is_open(params: Params) -> bool:
    """Whether the machine would choose; for vectors it is float32 everywhere."""
    return params.precision == "auto" and params.network != "mlp"


def _begun(folder: Path) -> Iterator[str]:
    """The precisions of the runs in a folder that see pictures."""
    for path in folder.glob("*/params.json"):
        with suppress(ParamsError):  # one that cannot be read is not averaged
            params = load(path)
            if params.network != "mlp":
                yield params.precision
