"""The grid of a sweep: its runs, and everything that is wrong with its arguments."""

import hashlib
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ppo.envs import catalog
from ppo.files.folder import RunFolder, write_whole
from ppo.params import Check, ParamsError, load, of_run
from ppo.process import reading
from ppo.process.arguments import expanded
from ppo.settings import Params

Thing = TypeVar("Thing", bound=Hashable)

TABLE, FIGURE = "table.md", "figure.png"
LONGEST_NAME = 255  # bytes; so many a file system allows

# Each of these has an argument of its own, which would win.
SET_ELSEWHERE = {"seed": "--seeds", "threads": "--workers"}
# What a sweep may change in existing runs; anything else would mix two experiments.
CHANGED_BY_RESUME = ("total_steps", "checkpoint_interval", "checkpoints_kept", "video_interval")
# What may differ in them without being told.
UNSEEN = ("threads", "keep_checkpoints_from", "keep_checkpoints_to")


@dataclass(frozen=True)
class Run:
    """One cell of the grid."""

    variant: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """The file of the command's output."""
        return self.folder.with_suffix(".log")


def grid(
    logdir: Path, variants: Sequence[str], varied: Sequence[str], seeds: Sequence[int], threads: int
) -> list[Run]:
    """All runs of a sweep, seed by seed, so that an interrupted one has runs of each variant.

    A variant is ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``; a varied key is ``KEY=V1,V2``.
    """
    named = [_variant(text) for text in variants] or [("", [])]
    axes = [_axis(text) for text in varied]
    runs = []
    for seed in seeds:
        for (name, settings), values in itertools.product(named, itertools.product(*axes)):
            label = ", ".join(filter(None, [name, *values])) or "plain"
            overrides = (*settings, *values, f"seed={seed}", f"threads={threads}")
            folder = logdir / folder_name(label) / f"seed-{seed}"
            runs.append(Run(label, seed, overrides, folder))
    return runs


def folder_name(label: str) -> str:
    """The folder of a variant; a label too long for it is cut, and told apart by its hash."""
    name = label.replace("/", "_").replace(", ", "_")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    end = "-" + hashlib.sha256(label.encode()).hexdigest()[:12]
    return name.encode()[: LONGEST_NAME - len(end)].decode(errors="ignore") + end


def changes(run: Run, params: Params) -> dict[str, object]:
    """The settings that differ from those that the run began with, but for what is left open, and
    what changes nothing that a table shows; none if it has not begun.
    """
    path = RunFolder(run.folder).params
    if not os.path.lexists(path):
        return {}
    begun = of_run(path)
    return {
        key: value
        for key, value in params
        if key not in UNSEEN and not params.leaves_open(key) and value != getattr(begun, key)
    }


def to_show(draws: Sequence[str], runs: Sequence[Run]) -> dict[str, list[Path]]:
    """The runs of table and figure by name: existing ones, NAME=RUN,RUN, then those of the grid."""
    shown: dict[str, list[Path]] = {}
    for text in draws:
        name, _, folders = text.partition("=")
        shown.setdefault(name, []).extend(map(expanded, folders.split(",")))
    for run in runs:
        shown.setdefault(run.variant, []).append(run.folder)
    return shown


def count(text: str) -> int | None:
    """A number of at most ten digits, or else None."""
    return int(text) if re.fullmatch("[0-9]{1,10}", text) else None


def seed_faults(text: str) -> list[str]:
    """What is wrong with ``--seeds``."""
    seeds = [count(part) for part in text.split(",")]
    if any(seed is None or seed >= 2**31 for seed in seeds):
        return [f"--seeds={text!r}: write seeds from 0 to {2**31 - 1}, as 0,1,2"]
    return [f"--seeds: {seed} is given twice; a seed makes one run" for seed in _twice(seeds)]


def draw_faults(draws: Sequence[str]) -> list[str]:
    """What is wrong with the form of ``--draw``."""
    form = re.compile(r"\s*[^=\s][^=]*=[^,]+(,[^,]+)*")
    return [f"--draw {text!r}: write NAME=RUN,RUN" for text in draws if not form.fullmatch(text)]


def absent_faults(draws: Sequence[str]) -> list[str]:
    """Which runs of ``--draw`` are not there."""
    runs = map(RunFolder, itertools.chain(*to_show(draws, []).values()))
    return [
        f"--draw: {run.path} holds no run (no progress.csv)"
        for run in runs
        if not (os.path.lexists(run.progress) or os.path.lexists(run.params))
    ]


def shown_faults(shown: Mapping[str, Sequence[Path]]) -> list[str]:
    """Which runs would count twice."""
    return [
        f"{run} is shown twice as {name!r}; a run counts once"
        for name, folders in shown.items()
        for run in _twice(map(os.path.realpath, folders))
    ]


def form_faults(
    variants: Sequence[str], varied: Sequence[str], option: str = "--variant"
) -> list[str]:
    """What is wrong with the variants and the varied keys, whatever their settings mean;
    ``option`` is what gives a variant.
    """
    faults = [f"{option} {fault}" for text in variants for fault in _variant_faults(text)]
    faults += itertools.chain(*map(_axis_faults, varied))
    names, settings = zip(*map(_variant, variants), strict=True) if variants else ((), ())
    faults += [f"{option}: two are named {name!r}; rename one" for name in _twice(names)]
    axes = [_key(text) for text in varied]
    faults += [f"--vary {key}: is given twice; give all values at once" for key in _twice(axes)]
    for name, parts in zip(names, settings, strict=True):
        keys = [_key(part) for part in parts]
        faults += [f"{option} {name!r} sets {key} twice" for key in _twice(keys)]
        both = sorted({*keys} & {*axes})
        faults += [f"{option} {name!r} sets {key}, which --vary sets, too" for key in both]
    return faults or _shared_folders(variants, varied)


def well_formed(variants: Sequence[str], varied: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those variants and varied keys whose settings can be checked."""
    return (
        [text for text in variants if not _variant_faults(text)],
        [text for text in varied if not _axis_faults(text)],
    )


def check_of(run: Run) -> Check:
    """What the settings of a run are checked by, in its game: those of one that has begun may have
    no effect.
    """
    begun = os.path.exists(RunFolder(run.folder).params)  # False for a name that the system refuses
    return catalog.check if begun else catalog.check_new


def setting_faults(pfile: Path, runs: Sequence[Run]) -> list[str]:
    """What is wrong with the settings of the runs."""
    faults: dict[str, None] = {}
    for run in runs:
        try:
            load(pfile, run.overrides, [check_of(run)])
        except ParamsError as error:
            faults |= dict.fromkeys(error.faults)
    return list(faults)


def history_faults(pfile: Path, runs: Sequence[Run]) -> list[str]:
    """Why runs, whose settings are valid, cannot go on or begin in their folders."""
    found = (begun_faults(run, load(pfile, run.overrides)) for run in runs)
    return list(dict.fromkeys(itertools.chain(*found)))


def logdir_faults(logdir: Path) -> list[str]:
    """Why a folder cannot be used or created; nothing is created."""
    try:
        place = next(path for path in (logdir, *logdir.absolute().parents) if _there(path))
    except (OSError, ValueError) as error:
        return [f"--logdir={str(logdir)!r} cannot be used: {_reason(error)}"]
    if not place.is_dir():
        return [f"--logdir={str(logdir)!r} cannot be used: {place} is a file, not a folder"]
    if not os.access(place, os.W_OK | os.X_OK):
        return [f"--logdir={str(logdir)!r} cannot be used: {place} does not allow writing"]
    return []


def create(logdir: Path) -> None:
    """Create the folder of a sweep, whole or not at all. Raises ParamsError."""
    folders = (logdir, *logdir.absolute().parents)
    absent = [path for path in folders if not os.path.lexists(path)]
    try:
        logdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        for path in filter(os.path.lexists, absent):
            path.rmdir()
        raise ParamsError([f"--logdir={str(logdir)!r} cannot be used: {_reason(error)}"]) from error


def settings_in(folder: Path, pfile: Path) -> Path:
    """A copy of a params file in a folder of runs, with which all runs of a call begin, also if the
    file is edited meanwhile. Its name has a hash of its content, since another call in the same
    folder may have another file.
    """
    content = reading.content(pfile)
    copy = folder / f"settings-{hashlib.sha256(content).hexdigest()[:12]}.json"
    write_whole(copy, content)
    return copy


def _variant(text: str) -> tuple[str, list[str]]:
    name, colon, settings = text.partition(":")
    return name, settings.split(",") if colon else []


def _axis(text: str) -> list[str]:
    key, _, values = text.partition("=")
    return [f"{key}={value}" for value in values.split(",")]


def _key(setting: str) -> str:
    return setting.partition("=")[0]


def _variant_faults(text: str) -> list[str]:
    name, settings = _variant(text)
    return [f"{text!r}: {fault}" for fault in _name_faults(name) + _misses(settings)]


def _axis_faults(text: str) -> list[str]:
    values = _axis(text)
    again = [f"{value} is given twice" for value in _twice(values)]
    return [f"--vary {text!r}: {fault}" for fault in _misses(values) + again]


def _name_faults(name: str) -> list[str]:
    """Why a variant cannot have this name: its folder has it, too."""
    if not name.strip():
        return ["it has no name; write NAME:KEY=VALUE,KEY=VALUE"]
    if name in (".", "..", TABLE, FIGURE) or name.startswith("/") or not name.isprintable():
        return [f"{name!r} cannot be the name of its folder; choose another"]
    return []


def _misses(settings: Iterable[str]) -> list[str]:
    """What is wrong with the form of each KEY=VALUE."""
    faults: dict[str, None] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if not key.strip() or not value.strip():
            faults[f"{setting!r} is no setting with a value, KEY=VALUE"] = None
        elif not setting.isprintable():
            faults[f"{setting!r} holds a character that cannot be printed"] = None
        elif key in SET_ELSEWHERE:
            faults[f"{key} cannot be varied; use {SET_ELSEWHERE[key]}"] = None
    return list(faults)


def _shared_folders(variants: Sequence[str], varied: Sequence[str]) -> list[str]:
    labels: dict[str, list[str]] = {}
    for run in grid(Path(), variants, varied, [0], 1):
        labels.setdefault(str(run.folder.parent), []).append(repr(run.variant))
    return [
        f"{' and '.join(sharing)} would share the folder {name!r}; rename one"
        for name, sharing in labels.items()
        if len(sharing) > 1
    ]


def begun_faults(run: Run, params: Params) -> list[str]:
    """Why a run cannot go on, or begin, in its folder."""
    for place in (run.folder.parent, run.folder):
        if os.path.lexists(place) and not place.is_dir():
            return [f"{place} is a file, not a folder; remove it, or use another --logdir"]
    try:
        changed = changes(run, params)
    except ParamsError as error:
        return [f"{RunFolder(run.folder).params}: {fault}" for fault in error.faults]
    except OSError as error:
        return [f"{run.folder} cannot be read ({_reason(error)})"]
    return [
        f"{run.folder} holds a run with another {key} than {json.dumps(value)}; remove it, or use "
        "another --logdir"
        for key, value in changed.items()
        if key not in CHANGED_BY_RESUME
    ]


def _there(path: Path) -> bool:
    """Whether there is something, if only a broken link. Raises OSError, ValueError."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _twice(things: Iterable[Thing]) -> list[Thing]:
    return [thing for thing, times in Counter(things).items() if times > 1]
