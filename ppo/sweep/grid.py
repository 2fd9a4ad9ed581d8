"""The grid of a sweep: its runs, and all faults of its arguments."""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ppo.envs import checks
from ppo.envs.registry import resolved
from ppo.files import origin
from ppo.files.atomic import write_whole
from ppo.files.folder import FolderError, RunFolder, check_writable
from ppo.params import Check, ParamsError, Source, load, load_run
from ppo.settings import OF_MACHINE, Params, marked
from ppo.settings.fields import SEEDS
from ppo.sweep.sample import COMMA
from ppo.system import reading
from ppo.system.arguments import expanded
from ppo.system.reading import repeated
from ppo.system.streams import reason
from ppo.train import check_machine
from ppo.workers.cluster import check_alone

TABLE, FIGURE = "table.md", "figure.png"
LONGEST_NAME = 255  # bytes; the limit of file systems

# Each of these has an argument of its own, which would take precedence.
SET_ELSEWHERE = {"seed": "--seeds", "threads": "--workers"}
# What a sweep may change in existing runs. Anything else would mix two experiments.
CHANGED_BY_RESUME = frozenset(key for key, by in marked("sweep").items() if by == "resumes")
# What may differ in existing runs without being reported.
UNSEEN = marked("sweep").keys() - CHANGED_BY_RESUME

Variant = tuple[str, list[str]]  # a name, and a set of settings, each as KEY=VALUE


@dataclass(frozen=True)
class Run:
    """One cell of the grid."""

    variant: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path
    named: str = field(default="", kw_only=True)  # the name of its --variant

    @property
    def name(self) -> str:
        """Name of the run in messages."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """File of the command's output."""
        return self.folder.with_suffix(".log")


@dataclass(frozen=True)
class Grid:
    """The parsed arguments of a sweep; settings are texts KEY=VALUE."""

    variants: list[Variant]
    axes: list[list[str]]  # for each varied key, its settings
    faults: list[str]  # of the arguments, which are then left out
    samples: Sequence[Sequence[str]] = ()  # of a random search, the settings of each
    shared: Sequence[str] = ()  # settings of all runs

    def runs(self, logdir: Path, seeds: Iterable[int], threads: int) -> list[Run]:
        """Return all runs seed by seed, so an interrupted sweep has runs of each variant. A run is
        named by what differs between runs, its folder by all that was varied.
        """
        runs = []
        variants, samples = self.variants or [("", [])], self.samples or [()]
        for seed, (named, settings), sample, values in itertools.product(
            seeds, variants, samples, [*itertools.product(*self.axes)]
        ):
            differing = [v for v, axis in zip(values, self.axes, strict=True) if len(axis) > 1]
            whole = ", ".join(filter(None, [named, *sample, *values])) or "plain"
            name = ", ".join(filter(None, [named, *sample, *differing])) or whole
            varied = (*self.shared, *settings, *sample, *values)
            folder = logdir / folder_name(whole) / f"seed-{seed}"
            overrides = (*varied, f"seed={seed}", f"threads={threads}")
            runs.append(Run(name, seed, overrides, folder, named=named))
        return runs


def parse(
    variants: Sequence[str],
    varied: Sequence[str] = (),
    option: str = "--variant",
    samples: Sequence[Sequence[str]] = (),
    shared: Sequence[str] = (),
) -> Grid:
    """Parse the arguments of ``option``, NAME or NAME:KEY=VALUE,KEY=VALUE, of ``--vary``,
    KEY=V1,V2, and of ``--set``, KEY=VALUE. A value may be a list, such as [64,64]. The meaning of
    the settings is not checked.
    """
    named, axes, faults = [], [], []
    for text in variants:
        name, colon, rest = text.partition(":")
        settings = COMMA.split(rest) if colon else []
        wrong = _name_faults(name) + _form_faults(settings)
        faults += [f"{option} {text!r}: {fault}" for fault in wrong]
        named += [] if wrong else [(name, settings)]
    for text in varied:
        key, _, values = text.partition("=")
        axis = [f"{key}={value}" for value in COMMA.split(values)]
        wrong = _form_faults(axis) + [f"{value} is given twice" for value in repeated(axis)]
        faults += [f"--vary {text!r}: {fault}" for fault in wrong]
        axes += [] if wrong else [axis]
    if wrong := _form_faults(shared):
        faults += [f"--set {fault}" for fault in wrong]
        shared = []
    faults += [f"--sample {fault}" for fault in _form_faults(itertools.chain(*samples[:1]))]
    grid = Grid(named, axes, faults, samples, shared)
    faults += _conflicts(grid, option)
    labels: dict[str, list[str]] = {}
    for run in grid.runs(Path(), [0], 1) if not faults else []:
        labels.setdefault(str(run.folder.parent), []).append(repr(run.variant))
    faults += [
        f"{' and '.join(sharing)} would share the folder {name!r}; rename one"
        for name, sharing in labels.items()
        if len(sharing) > 1
    ]
    return grid


def _conflicts(grid: Grid, option: str) -> list[str]:
    """Return names and keys that are given twice."""
    names = [name for name, _ in grid.variants]
    faults = [f"{option}: two are named {name!r}; rename one" for name in repeated(names)]
    varied = [_key(axis[0]) for axis in grid.axes]
    sampled = list(dict.fromkeys(map(_key, itertools.chain(*grid.samples[:1]))))
    shared = [_key(setting) for setting in grid.shared]
    rest = {"--vary": varied, "--sample": sampled, "--set": shared}
    named = [(f"{option} {name!r}", [*map(_key, settings)]) for name, settings in grid.variants]
    for source, keys in [*named, *rest.items()]:
        hint = "; give all values at once" if source == "--vary" else ""
        faults += [f"{source} {key}: is given twice{hint}" for key in repeated(keys)]
        rest.pop(source, None)
        for other, others in rest.items():
            both = sorted({*keys} & {*others})
            faults += [f"{source} {key}: {other} sets it too; leave one out" for key in both]
    return faults


def _name_faults(name: str) -> list[str]:
    """Return why a variant, and thus its folder, cannot have this name."""
    if not name.strip():
        return ["it has no name; write NAME:KEY=VALUE,KEY=VALUE"]
    taken = name in (TABLE, FIGURE) or re.fullmatch(r"settings-.*\.json", name)
    if taken or name.startswith((".", "/")) or not name.isprintable():  # locks and partial files
        return [f"{name!r} cannot be the name of its folder; choose another"]
    return []


def _form_faults(settings: Iterable[str]) -> list[str]:
    """Return what is wrong with the form of each KEY=VALUE."""
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


def _key(setting: str) -> str:
    return setting.partition("=")[0]


def folder_name(label: str) -> str:
    """Return a variant's folder name. A label that is too long is cut, with its hash at the end."""
    name = label.replace("/", "_").replace(", ", "_")
    if len(name.encode()) <= LONGEST_NAME:
        return name
    end = "-" + hashlib.sha256(label.encode()).hexdigest()[:12]
    return name.encode()[: LONGEST_NAME - len(end)].decode(errors="ignore") + end


def changes(run: Run, params: Params) -> dict[str, object]:
    """Return the settings that differ from the run's stored settings. Settings that the machine
    chooses and settings that change nothing in a table are omitted. Return nothing if the run has
    not begun.
    """
    path = RunFolder(run.folder).params
    if not os.path.lexists(path):
        return {}
    begun, now = load_run(path), resolved(params)
    omitted = UNSEEN | {
        key
        for key, _ in begun
        if params.leaves_open(key) and (key in OF_MACHINE or begun.leaves_open(key))
    }
    return {key: new for key, new in now if key not in omitted and new != getattr(begun, key)}


def count(text: str) -> int | None:
    """Return a number of at most ten digits, or else None."""
    return int(text) if re.fullmatch("[0-9]{1,10}", text) else None


def parse_count(option: str, text: str | None, what: str, faults: list[str]) -> int:
    """Parse a number of 1 or more, 1 for None. Add what is wrong with it to the faults."""
    number = 1 if text is None else count(text)
    if not number:
        faults.append(f"{option}={text!r}: write the number of {what}, such as 2")
    return number or 1


def parse_seeds(text: str, faults: list[str]) -> list[int]:
    """Parse ``--seeds``. Add what is wrong with it to the faults."""
    seeds = [seed for part in text.split(",") if (seed := count(part)) is not None and seed < SEEDS]
    if len(seeds) <= text.count(","):
        faults.append(f"--seeds={text!r}: write seeds from 0 to {SEEDS - 1}, such as 0,1,2")
    else:
        twice = repeated(seeds)
        faults += [f"--seeds: {seed} is given twice; a seed makes one run" for seed in twice]
    return seeds


def parse_draws(draws: Sequence[str], faults: list[str]) -> dict[str, list[Path]]:
    """Parse ``--draw``, NAME=RUN,RUN: existing runs by name. Add a wrong form to the faults."""
    drawn: dict[str, list[Path]] = {}
    for text in draws:
        name, _, folders = text.partition("=")
        runs = COMMA.split(folders)
        if not (name.strip() and all(runs)):
            faults.append(f"--draw {text!r}: write NAME=RUN,RUN")
        drawn.setdefault(name, []).extend(map(expanded, filter(None, runs)))
    return drawn


def drawn_faults(drawn: Mapping[str, Sequence[Path]], runs: Sequence[Run]) -> list[str]:
    """Return which existing runs do not exist, or would count twice beside the runs of a grid."""
    shown = [(name, folder) for name, folders in drawn.items() for folder in folders]
    shown += [(run.variant, run.folder) for run in runs]
    twice = repeated((name, os.path.realpath(folder)) for name, folder in shown)
    return [f"{run} is shown twice as {name!r}; a run counts once" for name, run in twice] or [
        f"--draw: {folder.path} holds no run (no progress.csv)"
        for folder in map(RunFolder, itertools.chain(*drawn.values()))
        if not (os.path.lexists(folder.progress) or os.path.lexists(folder.params))
    ]


def check_of(run: Run) -> Check:
    """Return the check of a run's settings. If the run has begun, some may have no effect."""
    begun = os.path.exists(RunFolder(run.folder).params)  # False for a name that the system refuses
    return checks.check if begun else checks.check_new


def check_start(settings: Params, on_this_machine: bool) -> None:
    """Raise ParamsError if a run of one process could not begin with these settings."""
    if settings.workers > 1:
        raise ParamsError(
            f"workers = {settings.workers}: each run here is one process; leave workers out"
        )
    if on_this_machine:
        check_machine(resolved(settings), processes=1)


def setting_faults(source: Source, runs: Sequence[Run], on_this_machine: bool = True) -> list[str]:
    """Return what is wrong with the settings of the runs, which begin ``on_this_machine`` or on
    others. Two spellings of a value, such as 0.9 and 9e-1, would make the same run twice.
    """
    faults: dict[str, None] = {}
    labels: dict[tuple[str, str], str] = {}
    for run in runs:
        check = check_of(run)
        try:
            loaded = load(source, run.overrides, [check])
            if check is checks.check_new:
                check_start(loaded, on_this_machine)
        except ParamsError as error:
            faults |= dict.fromkeys(error.faults)
            continue
        key = run.named, loaded.to_json()
        if (other := labels.setdefault(key, run.variant)) != run.variant:
            faults[f"{other!r} and {run.variant!r} have the same settings; leave one out"] = None
    return list(faults)


def begun_faults(run: Run, params: Params, source: tuple[Path, int] | None = None) -> list[str]:
    """Return why a run cannot resume, or begin, in its folder. ``source`` is the run and the step
    of which it is a fork. Raises ClusterError if this process is one of several workers.
    """
    check_alone()
    for place in (run.folder.parent, run.folder):
        if os.path.lexists(place) and not place.is_dir():
            return [f"{place} is a file, not a folder; remove it, or use another --logdir"]
    try:
        changed = changes(run, params)
    except ParamsError as error:
        return [f"{RunFolder(run.folder).params}: {fault}" for fault in error.faults]
    except OSError as error:
        return [f"{run.folder} cannot be read ({reason(error)})"]
    return [
        f"{run.folder} holds a run with another {key} than {json.dumps(value)}; remove it, or use "
        "another --logdir"
        for key, value in changed.items()
        if key not in CHANGED_BY_RESUME
    ] + (_other_origin(run, *source) if source else [])


def _other_origin(run: Run, source: Path, step: int) -> list[str]:
    """Return why an existing fork is not one of this run at this step."""
    began_from = origin.read(RunFolder(run.folder))
    if began_from is None or began_from.is_of(source, step):
        return []
    theirs = f"{began_from.run} at step {began_from.step:,}"
    if not began_from.fits(source):
        theirs = f"another run, which was called {began_from.run}"
    return [
        f"{run.folder} was forked from {theirs}, not from {source} at step {step:,}; remove it, or "
        "use another --logdir"
    ]


def logdir_faults(logdir: Path) -> list[str]:
    """Return why a folder cannot be used or created. Nothing is created."""
    try:
        check_writable(logdir)
    except (FolderError, OSError) as error:
        return [f"--logdir={str(logdir)!r} cannot be used: {reason(error)}"]
    return []


def settings_in(folder: Path, source: Source) -> Path:
    """Write settings into a folder of runs. All runs of a call begin with this file, even if the
    user's file is edited meanwhile. Its name has a hash of its content, because another call in the
    same folder may use other settings.
    """
    if isinstance(source, str | Path):
        content = reading.content(Path(source))
    else:
        content = json.dumps(dict(source), indent=2).encode()
    copy = folder / f"settings-{hashlib.sha256(content).hexdigest()[:12]}.json"
    write_whole(copy, content)
    return copy
