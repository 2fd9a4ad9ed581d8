"""A copy of a run at Weights & Biases: settings, scalars and videos."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ppo.checkpoint import Checkpoint, State
from ppo.files.folder import RunFolder
from ppo.files.held import with_names
from ppo.replay.recorder import FinishedVideo
from ppo.runs.observers import Observer
from ppo.runs.videographer import TAG
from ppo.settings import ResolvedParams
from ppo.system.streams import reason


class TrackerState(State):
    """The run's id at Weights & Biases; None if it has none."""

    id: str | None = None


class Tracker(Observer):
    """Copy a run to Weights & Biases if ``wandb_project`` is set. An error ends only the copy."""

    name = "wandb"

    def __init__(self, params: ResolvedParams, folder: RunFolder, say: Callable[[str], None]):
        self.params, self.folder, self.say = params, folder, say
        self._id = secrets.token_hex(4) if params.wandb_project else None
        self._run: Any = None

    def open(self) -> None:
        """Begin the copy, or continue the copy of an earlier start."""
        if not self.params.wandb_project:
            return
        with self._off_if_it_fails():
            import wandb  # slow, and optional

            name = self.folder.name
            self._run = wandb.init(
                project=self.params.wandb_project,
                id=self._id,
                resume="allow",
                dir=str(name),
                name=name.resolve().name,
                config=dict(self.params),
                settings=wandb.Settings(silent=True, console="off"),
            )
            place = self._run.dir if self._run.offline else self._run.url
            self.say(f"Weights & Biases: {place}")

    def scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Copy a log entry. A resumed run repeats some: what is already there stays."""
        if self._run:
            with self._off_if_it_fails():
                self._run.log(dict(scalars), step=step)

    def video(self, made: FinishedVideo) -> None:
        """Copy a video, at the step of the newest log entry."""
        if self._run:
            with self._off_if_it_fails():
                import wandb

                video = wandb.Video(with_names(made.path), caption=made.message, format="mp4")
                self._run.log({TAG: video})

    def close(self) -> None:
        if self._run:
            with self._off_if_it_fails():
                self._run.finish()

    def state(self) -> TrackerState:
        return TrackerState(id=self._id)

    def restore(self, saved: Checkpoint) -> None:
        """Continue the copy of a run. A fork has its own."""
        self._id = saved.part(self.name, TrackerState).id or self._id

    @contextmanager
    def _off_if_it_fails(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._run = None
            self.say(f"Weights & Biases gets nothing more of this run: {reason(error)}")
