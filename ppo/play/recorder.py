"""Videos of replays, made in the background while training goes on."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppo.files import gif, video
from ppo.play import render
from ppo.play.replay import Replay, frames_per_second, step_of, title


@dataclass(frozen=True)
class Made:
    """A video that was made: of which replay, where it is, and a small GIF of it."""

    replay: Replay
    path: Path
    gif: bytes

    @property
    def step(self) -> int:
        """The run's step at which the episode ended."""
        return step_of(self.replay)

    @property
    def told(self) -> str:
        """A line that says so, and where it is in the run's folder."""
        place = f"{self.path.parent.name}/{self.path.name}"
        return f"step {self.step:,}: video, score {self.replay.score:.10g}: {place}"


class Recorder:
    """Makes one video after another in its own thread; emulator and ffmpeg run outside Python's
    global lock. Only the first failure gives a warning, and none does once ``stop`` returns True:
    what ends the run may have ended ffmpeg, too.
    """

    def __init__(self, warn: Callable[[str], None], stop: Callable[[], bool]):
        self._warn, self._stop = warn, stop
        self._warned = False
        self._abandoned = threading.Event()
        self._videos: list[Future] = []
        self._made: queue.SimpleQueue[Made] = queue.SimpleQueue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="video")

    def record(self, replay: Replay, path: Path) -> None:
        """Queue a video."""
        self._videos = [video for video in self._videos if not video.done()]
        self._videos.append(self._thread.submit(self._record, replay, path))

    def made(self) -> Iterator[Made]:
        """The videos that were made since the last call."""
        while not self._made.empty():
            yield self._made.get()

    def wait(self, stop: Callable[[], bool]) -> None:
        """Wait until all videos are made, or ``stop`` returns True."""
        while not stop() and any(not video.done() for video in self._videos):
            time.sleep(0.05)

    def close(self, abandon: bool) -> None:
        """Finish all videos, or abandon unfinished ones; their replays are kept."""
        if abandon:
            self._abandoned.set()
        self._thread.shutdown(wait=True, cancel_futures=abandon)

    def _record(self, replay: Replay, path: Path) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
            rate = frames_per_second(replay)
            video.write(path, self._pictures(replay), rate, title=title(replay))
            self._made.put(Made(replay, path, gif.small(path, self._abandoned.is_set)))
        except Exception as error:  # nobody reads this thread's result
            if not (self._warned or self._abandoned.is_set() or self._stop()):
                self._warned = True
                self._warn(f"no video: {error}. Training continues; replays are kept")

    def _pictures(self, replay: Replay) -> Iterator[np.ndarray]:
        for picture in render.plain(replay):
            if self._abandoned.is_set():
                raise video.VideoError("abandoned, because the run stops")
            yield picture
