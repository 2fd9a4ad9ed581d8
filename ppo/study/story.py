"""What the files of a run tell, for its report and its model card."""

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppo import checkpoint
from ppo.checkpoint import CheckpointError
from ppo.envs import catalog
from ppo.files.folder import RunFolder, check_run
from ppo.params import of_run
from ppo.settings import EARLIER, Params
from ppo.study import history
from ppo.study.explain import explain
from ppo.study.history import Row

SCORE = "rollout/ep_rew_mean"


@dataclass(frozen=True)
class Story:
    """What the files of a run tell."""

    folder: RunFolder
    params: Params
    rows: list[Row]
    evaluations: list[dict[str, Any]]
    versions: dict[str, str]
    explanation: str

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.path.resolve().name

    @property
    def step(self) -> int:
        """Steps in its log."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def headline(self) -> str:
        """Its score: of its newest evaluation, else of its last 100 games."""
        if self.evaluations:
            last = self.evaluations[-1]
            games = len(last["scores"])
            return (
                f"{last['mean']:.2f} points (95 percent interval {last['low']:.2f} to "
                f"{last['high']:.2f}), mean of {games} whole games of the {last['policy']} policy "
                f"of step {last['step']:,}"
            )
        if self.rows and SCORE in self.rows[-1]:
            return f"{self.rows[-1][SCORE]:.2f} points, mean of the last 100 games of its training"
        return "no whole game yet"

    @property
    def mean(self) -> float:
        """The mean score that the headline tells; NaN if there is none."""
        if self.evaluations:
            return self.evaluations[-1]["mean"]
        return self.rows[-1].get(SCORE, math.nan) if self.rows else math.nan

    def differing(self) -> dict[str, object]:
        """The settings that differ from the defaults."""
        fields = Params.model_fields
        return {key: value for key, value in self.params if value != fields[key].default}


def story(run: Path) -> Story:
    """What a run's files tell. Raises FolderError, ParamsError, HistoryError."""
    check_run(run)
    folder = RunFolder(run)
    try:
        versions = checkpoint.newest(folder).session.versions
    except (CheckpointError, OSError):
        versions = {}
    return Story(
        folder,
        of_run(folder.params, checks=[catalog.check]),
        history.own_rows(run),
        _evaluations(folder),
        versions,
        explain(run),
    )


def videos(of: Story) -> list[tuple[str, Path]]:
    """Best and newest video, with what they show."""
    scored = []
    for path in of.folder.videos.glob("*.mp4"):
        replay = of.folder.replays / f"{path.stem}.json"
        try:
            score = json.loads(replay.read_text())["score"]
        except (OSError, ValueError, KeyError):
            score = -math.inf
        scored.append((score, path.stat().st_mtime, path))
    if not scored:
        return []
    best = max(scored)
    newest = max(scored, key=lambda one: one[1])
    found = (
        [("best", best), ("newest", newest)] if newest is not best else [("best and newest", best)]
    )
    return [
        (f"{kind}: {path.stem}" + (f", score {score:g}" if math.isfinite(score) else ""), path)
        for kind, (score, _, path) in found
    ]


def commands(of: Story) -> str:
    """The commands that repeat and evaluate the run."""
    folder = shlex.quote(str(of.folder.path))
    origin = history.fork_of(of.folder.path)
    earlier = "".join(f" --set {key}={value}" for key, value in _unwritten(of.folder))
    begin = (
        f"python run_atari.py --logdir=NEW --fork={shlex.quote(f'{origin[0]}@{origin[1]}')}"
        if origin
        else f"python run_atari.py --logdir=NEW --pfile={folder}/params.json{earlier}"
    )
    return f"{begin}\npython run_atari.py --logdir={folder} --evaluate 30"


def _unwritten(folder: RunFolder) -> list[tuple[str, object]]:
    """What the run had before there was a setting for it."""
    written = json.loads(folder.params.read_text())
    return [(key, value) for key, value in EARLIER.items() if key not in written]


def _evaluations(folder: RunFolder) -> list[dict[str, Any]]:
    if not folder.evaluations.exists():
        return []
    found = []
    for line in folder.evaluations.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # the last line may have been cut off
            continue
    return sorted(found, key=lambda one: one["step"])
