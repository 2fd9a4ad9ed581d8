"""The runs of ``benchmarks.games``: the names of their folders, and what their files say."""

import datetime
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, NamedTuple

import gymnasium
import numpy as np
from annotated_types import Len

from ppo.envs import human, registry
from ppo.files import evaluations
from ppo.files.folder import FolderError, RunFolder
from ppo.params import ParamsError, load_run
from ppo.settings.fields import CHOICES
from ppo.telemetry import curves, intervals, progress
from ppo.telemetry.curves import Curve
from ppo.telemetry.scalars import TIME

GAMES = 30  # of an evaluation, with each policy
DEFAULTS = "defaults"  # what the table calls the default settings
CURVE_POINTS = 100  # of a curve, at most
SETTINGS_FOLDER = re.compile(r"(?P<steps>\d+)-steps_(?P<settings>.+)")
RUN_FOLDER = re.compile(r"(?P<game>.+)-(?P<seed>\d+)")


class Kind(NamedTuple):
    """What runs have in common that are shown together."""

    total_steps: int
    settings: str
    precision: str

    @property
    def variant(self) -> str:
        """Its name among kinds with the same steps."""
        return f"{self.settings}, {self.precision}"

    def __str__(self) -> str:
        return f"{self.variant}, {self.total_steps:,} steps"


@dataclass(frozen=True)
class Result:
    """A finished run with its scores by policy, its evaluation's day and its machine, if noted (see
    games_store.py). ``curve`` has steps, minutes and the mean score of the last 100 games for some
    log entries. It is empty if the log has no curve, or no minutes.
    """

    settings: str
    total_steps: int
    game: str
    env_id: str
    seed: int
    steps: int
    minutes: float
    scores: dict[str, list[float]]
    date: str
    precision: str
    machine: str = ""
    curve: Sequence[Annotated[Sequence[float], Len(3, 3)]] = ()

    @property
    def kind(self) -> Kind:
        """The kind of the run."""
        return Kind(self.total_steps, self.settings, self.precision)

    @property
    def rom(self) -> str | None:
        """The game's ROM, or its id if it has none; None if its module is not here."""
        try:
            return registry.look_up(self.env_id)[0]
        except registry.UnknownGame:
            return None

    def normalized(self, score: float) -> float | None:
        """The score where random play is 0 and a human 1; None if the game has no such scores."""
        return human.normalized(self.rom, score) if self.rom else None


def env_of(game: str) -> str:
    """The environment of a name: ``Pong`` is PongNoFrameskip-v4, whose games others compare; any
    id is itself.
    """
    known = f"ALE/{game}-v5" in gymnasium.registry
    return f"{game}NoFrameskip-v4" if known else game


def words(game: str) -> str:
    """Return a game's name with spaces: ``BeamRider`` is Beam Rider."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", game)


def run_folder(label: str, total_steps: int, game: str, seed: int) -> Path:
    """The folder of a run, in the folder of its settings."""
    return Path(f"{total_steps}-steps_{label}", f"{_legal(game)}-{seed}")


def _legal(game: str) -> str:
    return re.sub(r"[/:.]", "_", game)


def read(logdir: Path) -> tuple[list[Result], list[str]]:
    """All runs of a folder that are evaluated at their end, and the folders of the others."""
    results, missing = [], []
    for folder in sorted(path for path in logdir.glob("*/*") if path.is_dir()):
        parts = SETTINGS_FOLDER.fullmatch(folder.parent.name), RUN_FOLDER.fullmatch(folder.name)
        if parts[0] and parts[1]:
            result = read_run(folder)
            if result:
                results.append(result)
            else:
                missing.append(str(folder.relative_to(logdir)))
    return results, missing


def read_run(folder: Path) -> Result | None:
    """A run and its evaluation at its end, or None if it has none. What a later resume adds to a
    run of so many steps does not count.
    """
    settings = SETTINGS_FOLDER.fullmatch(folder.parent.name)
    run = RUN_FOLDER.fullmatch(folder.name)
    assert settings and run
    try:
        env_id, precision, rollout = _circumstances(folder, run["game"])
    except ParamsError:
        return None
    total_steps = int(settings["steps"])
    end = range(total_steps, total_steps + rollout)
    lines = {name: evaluations.last(RunFolder(folder), name, GAMES, end) for name in CHOICES}
    rows = {name: line for name, line in lines.items() if line}
    seconds, steps = seconds_of(folder, end), {int(line["step"]) for line in rows.values()}
    if seconds is None or len(rows) < len(lines) or len(steps) > 1:
        return None
    scores = {str(name): [*map(float, line["scores"])] for name, line in rows.items()}
    date = datetime.date.fromtimestamp(RunFolder(folder).evaluations.stat().st_mtime)
    return Result(
        settings=settings["settings"],
        total_steps=total_steps,
        game=run["game"],
        env_id=env_id,
        seed=int(run["seed"]),
        steps=max(steps),
        minutes=seconds / 60,
        scores=scores,
        date=date.isoformat(),
        precision=precision,
        curve=_curve(folder, end),
    )


def _curve(folder: Path, end: range) -> list[list[float]]:
    """Return the run's curve up to its end, thinned evenly; both ends stay."""
    try:
        curve = curves.read(folder)
    except FolderError:
        return []
    steps, minutes, scores = curve.steps, curve.minutes, curve.scores
    if minutes is None:
        return []
    chosen = np.unique(
        np.linspace(0, (steps < end.stop).sum() - 1, CURVE_POINTS).round().astype(int)
    )
    columns = steps[chosen], minutes[chosen].round(2), scores[chosen].round(2)
    return np.column_stack(columns).tolist()


def curve_of(result: Result) -> Curve:
    """The curve of a run that has one."""
    steps, minutes, scores = np.array(result.curve).T
    return Curve(steps, scores, minutes)


def interval_of(runs: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the 95 percent interval of the mean score of a game's runs, from the mean of each. For
    a single run, it is the interval of its evaluation.
    """
    return intervals.score_interval([fmean(run) for run in runs] if len(runs) > 1 else runs[0])


def seconds_of(folder: Path, end: range) -> float | None:
    """How long a run has taken, by its log up to its end; None if it has none."""
    try:
        rows = [row for row in progress.numbers(folder) if row["step"] < end.stop]
        return rows[-1][TIME] if rows else None
    except (FolderError, KeyError):
        return None


def _circumstances(folder: Path, game: str) -> tuple[str, str, int]:
    """Return the environment, the precision and the steps of a rollout. Stable-Baselines3 has no
    settings file: its precision is float32, and its runs are not continued. Raises ParamsError.
    """
    path = RunFolder(folder).params
    if not path.exists():
        ids = (known for known in gymnasium.registry if _legal(known) == game)
        return env_of(next(ids, game)), "float32", sys.maxsize
    params = load_run(path)
    return params.env_id, params.precision, params.steps_per_iteration
