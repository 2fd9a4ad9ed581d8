"""Many runs side by side, and their results: one table and one figure.

    python -m ppo.sweep --pfile=BASE --vary KEY=V1,V2 --seeds=0,1,2 --logdir=DIR --workers=2
    python -m ppo.sweep --pfile=BASE --variant plain --variant logit:delta_target_policy=logit ...
    python -m ppo.sweep --draw NAME=RUN,RUN --draw NAME=RUN --logdir=DIR

Every combination of the values, the variants and the seeds is a run in its own process and
folder. Called again, a sweep resumes where it was interrupted.
"""

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ppo import checkpoint
from ppo.envs import catalog
from ppo.files.folder import RunFolder
from ppo.params import Params, ParamsError, load
from ppo.process.device import default_threads
from ppo.study import curves
from ppo.study.command import RUN_ATARI
from ppo.study.curves import Curve, CurveError

# What a sweep may change in existing runs; anything else would mix two experiments.
CHANGED_BY_RESUME = ("total_steps", "checkpoint_interval", "checkpoints_kept", "video_interval")


@dataclass(frozen=True)
class Run:
    """One cell of the grid."""

    variant: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path


def grid(
    logdir: Path, variants: Sequence[str], varied: Sequence[str], seeds: Sequence[int], threads: int
) -> list[Run]:
    """All runs of a sweep, seed by seed, so that an interrupted one has runs of each variant.

    A variant is ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``; a varied key is ``KEY=V1,V2``.
    """
    named = [_variant(text) for text in variants] or [("", ())]
    axes = [_axis(text) for text in varied]
    runs = []
    for seed in seeds:
        for (name, settings), values in itertools.product(named, itertools.product(*axes)):
            label = ", ".join(filter(None, [name, *values])) or "plain"
            overrides = (*settings, *values, f"seed={seed}", f"threads={threads}")
            folder = logdir / label.replace("/", "_").replace(", ", "_") / f"seed-{seed}"
            runs.append(Run(label, seed, overrides, folder))
    return runs


def _variant(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, settings = text.partition(":")
    return name, tuple(filter(None, settings.split(",")))


def _axis(text: str) -> list[str]:
    key, _, values = text.partition("=")
    return [f"{key}={value}" for value in values.split(",")]


def finished(run: Run, params: Params) -> bool:
    """Whether the run has a checkpoint of its last step."""
    return any(step >= params.whole_steps for step in checkpoint.steps(RunFolder(run.folder)))


def changes(run: Run, params: Params) -> dict[str, object]:
    """The settings that differ from those that the run began with, null and threads aside."""
    path = RunFolder(run.folder).params
    if not path.exists():
        return {}
    begun = load(path)
    return {
        key: value
        for key, value in params
        if value is not None and value != getattr(begun, key) and key != "threads"
    }


def go(run: Run, pfile: Path) -> int:
    """Start the run, or resume it; returns the command's exit code. Its output goes to
    ``NAME.log`` beside its folder.
    """
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    what = [f"--pfile={pfile}", *itertools.chain(*(("--set", text) for text in run.overrides))]
    if RunFolder(run.folder).params.exists():
        changed = changes(run, load(pfile, run.overrides))
        sets = (f"{key}={json.dumps(value)}" for key, value in changed.items())
        what = ["--resume", *itertools.chain(*(("--set", text) for text in sets))]
    with open(run.folder.with_suffix(".log"), "a") as log:
        command = [*RUN_ATARI, f"--logdir={run.folder}", *what]
        return subprocess.call(command, stdout=log, stderr=log)


def sweep(runs: Sequence[Run], pfile: Path, workers: int) -> bool:
    """Make all runs, ``workers`` at a time. Returns whether all were completed."""
    with ThreadPoolExecutor(workers) as pool:
        return all(list(pool.map(lambda run: _report(run, pfile), runs)))


def _report(run: Run, pfile: Path) -> bool:
    params = load(pfile, run.overrides)
    if finished(run, params):
        print(f"{run.variant}, seed {run.seed}: was done already", flush=True)
        return True
    print(f"{run.variant}, seed {run.seed}: begins", flush=True)
    code = go(run, pfile)
    said = "done" if code == 0 else f"ended with exit code {code}; see {run.folder}.log"
    print(f"{run.variant}, seed {run.seed}: {said}", flush=True)
    return code == 0


def write_results(variants: dict[str, list[Path]], logdir: Path) -> None:
    """``table.md`` and ``figure.png`` of all runs that have a curve. Raises CurveError."""
    read: dict[str, list[Curve]] = {}
    for name, folders in variants.items():
        for folder in folders:
            try:
                curve = curves.read(folder)
                read.setdefault(name, []).append(curve)
            except CurveError as error:
                print(error, file=sys.stderr)
    if not read:
        raise CurveError("no run has a curve")
    text = curves.table(read)
    (logdir / "table.md").write_text(text)
    curves.draw(read, logdir / "figure.png", logdir.name)
    print(text, end="")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 0 if all runs were completed, 2 for bad settings."""
    options = _parse(arguments)
    try:
        return _command(options)
    except (ParamsError, CurveError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ParamsError) else 1


def _command(options: argparse.Namespace) -> int:
    shown: dict[str, list[Path]] = {}
    for text in options.draw:
        name, _, folders = text.partition("=")
        shown.setdefault(name, []).extend(map(Path, folders.split(",")))
    complete = True
    if options.pfile:
        threads = max(1, default_threads() // options.workers)
        runs = grid(options.logdir, options.variant, options.vary, options.seeds, threads)
        _check(options.pfile, runs)
        complete = sweep(runs, options.pfile, options.workers)
        for run in runs:
            shown.setdefault(run.variant, []).append(run.folder)
    options.logdir.mkdir(parents=True, exist_ok=True)
    write_results(shown, options.logdir)
    return 0 if complete else 1


def _check(pfile: Path, runs: Sequence[Run]) -> None:
    """Raise ParamsError for all faults of all runs, before the first begins."""
    faults: dict[str, None] = {}
    for run in runs:
        try:
            params = load(pfile, run.overrides, [catalog.check])
            faults |= {
                f"{run.folder} holds a run with another {key} than {value!r}; remove it, or use "
                "another --logdir": None
                for key, value in changes(run, params).items()
                if key not in CHANGED_BY_RESUME
            }
        except ParamsError as error:
            faults |= dict.fromkeys(error.faults)
    if faults:
        raise ParamsError(list(faults))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ppo.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--logdir", type=Path, required=True, help="folder of the sweep")
    parser.add_argument("--pfile", type=Path, help="params file that all runs share")
    add = parser.add_argument
    add("--vary", action="append", default=[], metavar="KEY=V1,V2", help="a setting to vary")
    add(
        "--variant",
        action="append",
        default=[],
        metavar="NAME[:KEY=VALUE,...]",
        help="a named set of settings",
    )
    add("--seeds", type=_seeds, default=[0], metavar="0,1,2", help="seeds of each combination")
    add("--workers", type=int, default=1, help="runs at a time; they share the cores")
    add(
        "--draw",
        action="append",
        default=[],
        metavar="NAME=RUN[,RUN]",
        help="also show existing runs",
    )
    options = parser.parse_args(arguments)
    if not options.pfile and not options.draw:
        parser.error("--pfile=FILE or --draw NAME=RUN is needed")
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    return options


def _seeds(text: str) -> list[int]:
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text}: write seeds as 0,1,2")
    return [int(part) for part in text.split(",")]
