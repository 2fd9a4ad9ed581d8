"""What the files of a run contain, for its report and its model card."""

import itertools
import math
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ppo import checkpoint
from ppo.envs import checks, human, registry
from ppo.envs.registry import resolved
from ppo.evaluate.film import FILM
from ppo.files import evaluations, origin
from ppo.files.folder import RunFolder, check_run
from ppo.params import ParamsError, load_run
from ppo.replay.replay import ReplayError, load, step_of
from ppo.report.published import Published, comparable
from ppo.runs.start import RunState, run_of
from ppo.settings import CHOSEN_AT_START, EARLIER, FIXED_ON_FORK, OF_MACHINE, Params
from ppo.settings.describe import as_given
from ppo.system import reading
from ppo.system.arguments import run_atari
from ppo.system.streams import counted, duration, warn
from ppo.telemetry import progress
from ppo.telemetry.counters import RECENT_EPISODES
from ppo.telemetry.scalars import SCORE, TIME

PRESENT = "The commands use the present settings."


@dataclass(frozen=True)
class RunSummary:
    """The contents of a run's files."""

    folder: RunFolder
    params: Params
    rows: list[progress.Row]
    evaluations: list[dict[str, Any]]
    saved: int | None
    state: RunState  # of the checkpoint
    published: list[Published]

    @property
    def game(self) -> str:
        """Name of the game, for people."""
        env_id = self.params.env_id
        if not registry.is_atari(env_id):
            return env_id
        return registry.look_up(env_id)[0].replace("_", " ").title()

    @property
    def step(self) -> int:
        """Number of steps in the log."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """Evaluation of the newest step, of the sampled policy if there is one, and with the most
        games. None if the newest checkpoint was not evaluated.
        """
        newest = self.step if self.saved is None else self.saved
        recent = range(newest, max(newest, self.step) + 1)
        evaluations = [one for one in self.evaluations if one["step"] in recent]
        return max(
            reversed(evaluations),
            key=lambda one: (one["step"], one["policy"] == "sampled", len(one["scores"])),
            default=None,
        )

    def headline(self) -> str:
        """Return the score of the newest step, from an evaluation or else from the training."""
        if math.isnan(self.mean):
            return "no whole game yet"
        shown = end = ""
        if one := self.evaluation:
            interval = evaluations.interval(one)
            shown = f" (95 percent interval {interval})" if interval else ""
            limited = one.get("time_limited")  # older evaluations do not say
            end = f"; the time limit ended {limited} of them" if limited else ""
        return f"{self.mean:.2f} points{shown}, {self.measure}{end}"

    @property
    def measure(self) -> str:
        """Return what the score of the headline is the mean of."""
        if one := self.evaluation:
            games = counted(len(one["scores"]), "whole game")
            return f"mean of {games} of the {one['policy']} policy of step {one['step']:,}"
        played = self.rows[-1].get("rollout/games", RECENT_EPISODES)
        games = counted(int(min(played, RECENT_EPISODES)), "game")
        return f"mean of the last {games} of its training"

    @property
    def hint(self) -> str:
        """Return how to get a better headline, or an empty text."""
        if self.evaluation:
            return ""
        step = self.step if self.saved is None else self.saved
        return f"Step {step:,} was not evaluated; --evaluate 30 does so."

    @property
    def mean(self) -> float:
        """Mean score that the headline reports; NaN if there is none."""
        if one := self.evaluation:
            return one["mean"]
        return self.rows[-1].get(SCORE, math.nan) if self.rows else math.nan

    @property
    def limit(self) -> str:
        """Return why a run that ``commands`` begins may differ: resumes changed settings. The last
        resume may not have saved anything yet.
        """
        if self.state.changed is None:
            return f"{PRESENT} If a resume changed one, the new run differs."
        unsaved = [
            (self.saved or 0, key, was)
            for key, was in self.state.params.items()
            if was != getattr(self.params, key, was)
        ]
        changed = *self.state.changed, *unsaved
        before = [f"{key} was {as_given(was)} up to step {step:,}" for step, key, was in changed]
        if not before:
            return "No resume changed a setting."
        return f"{PRESENT} The new run differs, because resumes changed some: {'; '.join(before)}."

    def differing(self) -> origin.Changes:
        """Return the settings that differ from what ``--env`` uses for the game, or from what the
        network chooses by default: each with the default and the run's value.
        """
        default = Params(**registry.settings_for(self.params.env_id))
        open_again = {key: getattr(default, key) for key in CHOSEN_AT_START}
        chosen = settled(self.params.model_copy(update=open_again))
        usual = dict(default) | {key: chosen[key] for key in CHOSEN_AT_START}
        return {key: (usual[key], value) for key, value in self.params if value != usual[key]}


def read_summary(run: Path) -> RunSummary:
    """Read a run's files. Raises FolderError and ParamsError."""
    check_run(run)
    folder = RunFolder(run)
    params = load_run(folder.params, checks=[checks.check])
    saved, state = None, RunState()
    with suppress(checkpoint.CheckpointError, OSError):
        newest = checkpoint.newest(folder)
        saved, state = newest.step, run_of(newest)
    rows, lines = progress.numbers(run), evaluations.read(folder)
    with_interval = (line for line in lines if None not in (line["low"], line["high"]))
    evaluated = sorted(with_interval, key=lambda line: line["step"])
    return RunSummary(folder, params, rows, evaluated, saved, state, comparable(params))


def settled(params: Params) -> dict[str, object]:
    """Return the settings, filled in where the game or the network decides them."""
    filled = resolved(params)
    return {key: v if key in OF_MACHINE else getattr(filled, key) for key, v in params}


def names(summaries: Sequence[RunSummary]) -> list[str]:
    """Return the name of each summary's folder, with enough parent folders to be unique."""
    parts = [summary.folder.path.resolve().parts for summary in summaries]
    different = len({*parts})
    depth = next(n for n in itertools.count(1) if len({path[-n:] for path in parts}) == different)
    return [str(Path(*path[-depth:])) for path in parts]


def videos(summary: RunSummary) -> list[tuple[str, Path]]:
    """Return the film of the training, and the best and newest video of a game, with titles."""
    scored = []
    for path in summary.folder.videos.glob("*.mp4"):
        replay, score, step = summary.folder.replays / f"{path.stem}.json", -math.inf, 0
        if not (os.path.lexists(replay) and path.is_file()):  # a film has no replay
            continue
        try:
            game = load(replay, summary.params.env_id)
            score, step = game.score, step_of(game)
        except ReplayError as error:
            warn(str(error))
        scored.append((score, (step, path.stat().st_mtime), path))
    film = summary.folder.videos / FILM
    shown = [("how it learnt", film)] if film.is_file() else []
    if not scored:
        return shown
    best, newest = max(scored), max(scored, key=lambda one: one[1])
    kept = {"best": best, "newest": newest} if newest is not best else {"best and newest": best}
    return shown + [
        (f"{kind} game" + (f": {score:.10g} points" if math.isfinite(score) else ""), path)
        for kind, (score, _, path) in kept.items()
    ]


def commands(summary: RunSummary) -> str:
    """Return the commands that repeat and evaluate the run."""
    if began_from := origin.read(summary.folder):
        there = began_from.fits(began_from.run)
        begin = [f"--fork={began_from.run if there else 'ORIGINAL'}@{began_from.step}"]
        settings = _differing(summary, began_from)
    else:
        begin = [f"--pfile={summary.folder.params}"]
        # With the settings that did not exist when the run began.
        written = reading.value(summary.folder.params, TypeAdapter(dict[str, Any]))
        settings = {key: value for key, value in EARLIER.items() if key not in written}
    for key, value in settings.items():
        begin += ["--set", f"{key}={as_given(value)}"]
    if summary.params.workers > 1:
        begin.append(f"--workers={summary.params.workers}")
    games = ["30"]
    if (one := summary.evaluation) and "seed" in one:
        games = [str(len(one["scores"])), f"--policy={one['policy']}", f"--seed={one['seed']}"]
    lines = ["--logdir=NEW", *begin], [f"--logdir={summary.folder.path}", "--evaluate", *games]
    return "\n".join(f"{run_atari()} {shlex.join(line)}" for line in lines)


def _differing(summary: RunSummary, began_from: origin.Origin) -> dict[str, object]:
    """Return the fork's present settings that differ from its origin, except the number of workers.
    If the origin is gone, or another run has its name, use the settings from the time of forking.
    """
    changed: dict[str, object] = {key: new for key, (_, new) in began_from.changes.items()}
    is_fork = os.path.realpath(began_from.run) == os.path.realpath(summary.folder.path)
    if not is_fork and began_from.fits(began_from.run):
        with suppress(ParamsError):
            theirs, own = load_run(RunFolder(began_from.run).params), summary.params
            # Otherwise the origin's file could name a module that this run does not name.
            if all(getattr(theirs, key) == getattr(own, key) for key in FIXED_ON_FORK):
                before, now = settled(theirs), settled(own)
                changed = {key: new for key, new in now.items() if new != before[key]}
    return {key: value for key, value in changed.items() if key != "workers"}


def paragraph(summary: RunSummary) -> str:
    """Return what a run learnt in one paragraph: in which time, beside others' scores."""
    return " ".join(_sentences(summary))


def _sentences(summary: RunSummary) -> Iterator[str]:
    own_steps, included, env_id = summary.step, "", summary.params.env_id
    if began_from := origin.read(summary.folder):
        own_steps -= began_from.step
        included = ", with the time of the other run included"
        yield f"This run continues another one from step {began_from.step:,}."
    rows = [row for row in summary.rows if SCORE in row]
    if rows:
        first, last, seconds = rows[0][SCORE], rows[-1][SCORE], summary.rows[-1].get(TIME, 0.0)
        frames = f" ({own_steps * summary.params.frame_skip:,} frames)"
        steps = f"{own_steps:,} decisions{frames if registry.is_atari(env_id) else ''}"
        rose = last > first
        time = f" {'in' if rose else 'for'} {duration(seconds)}{included}" if seconds else ""
        yield f"This agent {'learnt' if rose else 'trained on'} {summary.game}{time}."
        course = f"{'rose' if rose else 'went'} from {first:.1f} to {last:.1f} points"
        yield f"Its training score {course} in {steps}."
        if summary.evaluation:
            yield f"An evaluation measured {summary.mean:.1f} points, {summary.measure}."
    else:
        yield f"This agent trains on {summary.game} and has not finished a game yet."
    if known := human.PUBLISHED.get(registry.look_up(env_id)[0]):
        yield f"Random play scores {known[0]:g} points and a human {known[1]:g}."
        whole = [row for row in rows if row.get("rollout/games", math.inf) >= RECENT_EPISODES]
        above = next((row for row in whole if row[SCORE] >= known[1]), {})
        if TIME in above and rows[0][SCORE] < known[1]:
            yield f"It passed the human after {duration(above[TIME])}."
    scores = [(one.package, one.score_at(summary.step)) for one in summary.published]
    if there := [f"{score:.1f} in {name}" for name, score in scores if math.isfinite(score)]:
        yield f"After {summary.step:,} steps, published PPO runs scored {', '.join(there)}."
