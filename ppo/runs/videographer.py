"""The videos of a run: which episodes to keep, and where to show them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from ppo.checkpoint import Checkpoint, State
from ppo.envs.registry import rules_of
from ppo.errors import NotFinite
from ppo.evaluate.evaluate import evaluate, with_short_games
from ppo.files.folder import RunFolder
from ppo.policy import Policy
from ppo.replay import replay
from ppo.replay.recorder import FinishedVideo, Recorder
from ppo.replay.replay import Replay
from ppo.runs.observers import Observer
from ppo.settings import ResolvedParams
from ppo.settings.fields import Choice
from ppo.system.signals import Interrupted
from ppo.trainer import Iteration

TAG = "videos/training"
# The names of replays of training episodes.
TRAINING = re.compile(r"step-\d{12,}-to-(\d{12,})-score_[-+.\deinfa]+")


class VideoState(State):
    """Whether the next episode will be kept, and the step of the newest video in the log. The step
    is None for a run from before logs contained videos.
    """

    wanted: bool = False
    shown: Annotated[int, Ge(-1)] | None = None


@dataclass(eq=False)
class Videographer(Observer):
    """Every ``video_interval`` steps, keep the next episode that ends, and of Atari first a game of
    the untrained policy. Each is saved as a replay and, of Atari, as a video made in the
    background. Print the path of each video. ``publish`` gets each video that the log does not
    show.
    """

    name = "video"

    params: ResolvedParams
    choice: Choice
    folder: RunFolder
    recorder: Recorder
    say: Callable[[str], None]
    publish: Callable[[FinishedVideo], None]
    logged_until: int = -1  # the step of the newest video in the log

    def begin(self, policy: Policy, interrupted: Callable[[], bool]) -> None:
        """Keep a game of the untrained policy before the first iteration."""
        rules, name = rules_of(self.params), "step-000000000000-untrained"
        known = any(self.folder.replays.glob(f"{name}*.json"))
        if known or not (self.params.video_interval and rules.is_atari):
            return
        params = with_short_games(self.params)
        try:
            (episode,) = evaluate(policy, params, 1, 0, interrupted).episodes
        except (Interrupted, NotFinite):  # training then raises these too
            return
        kept = Replay.from_episode(episode, rules_of(params), step=0, policy=self.choice)
        self._keep(f"{name}-{kept.score_name}", kept)

    def see(self, iteration: Iteration) -> None:
        """Keep an episode of the iteration if one is wanted and one ended. Announce finished videos
        in the main thread, because no other thread may write to the log.
        """
        self.wanted |= iteration.crossed(self.params.video_interval)
        if self.wanted and iteration.episodes:
            self.wanted = False
            episode, last = iteration.episodes[0], iteration.ended_at[0]
            first = max(0, last - episode.steps * self.params.num_envs * self.params.workers)
            facts = {"step": iteration.step, replay.FIRST: first, replay.LAST: last}
            rules = rules_of(self.params)
            kept = Replay.from_episode(episode, rules, policy=self.choice, **facts)
            self._keep(f"step-{first:012d}-to-{last:012d}-{kept.score_name}", kept)
        self.announce()

    def announce(self) -> None:
        for made in self.recorder.made():
            self.say(made.message)
            if made.step > self.logged_until:
                self.publish(made)
                self.logged_until = made.step

    def state(self) -> VideoState:
        return VideoState(wanted=self.wanted, shown=self.logged_until)

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint. A log without videos begins to show new ones."""
        state = saved.part(self.name, VideoState)
        self.wanted = state.wanted and self.params.video_interval > 0
        self.logged_until = saved.step - 1 if state.shown is None else state.shown

    def record_missing(self, step: int) -> None:
        """Record the videos of episodes up to ``step`` that a stop abandoned. Also record again
        what the log does not show.
        """
        if not rules_of(self.params).is_atari:
            return
        episodes = []
        for path in sorted(self.folder.replays.glob("step-*.json")):
            try:
                episodes.append((replay.load(path, self.params.env_id), self._video(path.stem)))
            except replay.ReplayError as error:
                self.say(str(error))
        for kept, movie in sorted(episodes, key=lambda one: replay.step_of(one[0])):
            missing = not movie.exists() or replay.step_of(kept) > self.logged_until
            if missing and replay.step_of(kept) <= step:
                self.recorder.record(kept, movie)

    def cut(self, step: int) -> None:
        """Remove the run's episodes after ``step``, because a resumed run makes them again, perhaps
        differently. Files with other names are left alone.
        """
        for path in self.folder.replays.glob("step-*-to-*.json"):
            named = TRAINING.fullmatch(path.stem)
            if named and int(named[1]) > step:
                self._video(path.stem).unlink(missing_ok=True)
                path.unlink()

    def _keep(self, name: str, kept: Replay) -> None:
        self.folder.replays.mkdir(exist_ok=True)
        replay.save(self.folder.replays / f"{name}.json", kept)
        if kept.rules.is_atari:
            self.recorder.record(kept, self._video(name))

    def _video(self, name: str) -> Path:
        return self.folder.videos / f"{name}.mp4"
