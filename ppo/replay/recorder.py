"""Videos of replays, made in the background while training goes on."""

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ppo.files import gif, video
from ppo.files.ffmpeg import Stalled
from ppo.replay import render
from ppo.replay.course import Course
from ppo.replay.replay import Replay, frames_per_second, step_of, title

PATIENCE_SECONDS = 5.0  # after which a run says what it waits for


@dataclass(frozen=True)
class Made:
    """A video that was made: its replay, its place, a small GIF of it, and what it leaves out."""

    replay: Replay
    path: Path
    gif: bytes
    gaps: str = ""

    @property
    def step(self) -> int:
        """The run's step at which the episode ended."""
        return step_of(self.replay)

    @property
    def told(self) -> str:
        """A line that says so, and where it is in the run's folder."""
        place = f"{self.path.parent.name}/{self.path.name}"
        told = f"step {self.step:,}: video, score {self.replay.score:.10g}: {place}"
        return f"{told}. {self.gaps}" if self.gaps else told


class Recorder:
    """Makes one video after another in its own thread; emulator and ffmpeg run outside Python's
    global lock. Only the first failure is reported, and none is once ``stop`` returns True: what
    ends the run may have ended ffmpeg, too.
    """

    def __init__(self, say: Callable[[str], None], stop: Callable[[], bool]):
        self._say, self._stop = say, stop
        self._warned = False
        self._stalls = 0  # how often ffmpeg has hung
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

    def wait(self) -> None:
        """Wait until all videos are made, ``stop`` returns True, or ffmpeg hangs. What it waits for
        is said if that takes long.
        """
        says_at, stalls = time.monotonic() + PATIENCE_SECONDS, self._stalls
        while not self._stop() and self._stalls == stalls:
            if not (left := sum(not video.done() for video in self._videos)):
                break
            if time.monotonic() > says_at:
                says_at = math.inf
                self._say(
                    f"waiting for {left} video{'s' * (left > 1)}; Ctrl-C ends the run now, and "
                    "--resume makes them later"
                )
            time.sleep(0.05)
        if self._stalls > stalls:
            self._say(
                "ffmpeg hangs, so the run ends without its last videos; --resume makes them later"
            )

    def close(self, abandon: bool) -> None:
        """Finish all videos, or abandon unfinished ones; their replays are kept."""
        if abandon:
            self._abandoned.set()
        self._thread.shutdown(wait=True, cancel_futures=abandon)

    def _record(self, replay: Replay, path: Path) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
            rate = frames_per_second(replay)
            course, abandoned = Course(replay), self._abandoned.is_set
            pictures = render.plain(replay, course)
            video.write(path, pictures, rate, title(replay), abandoned)
            self._made.put(Made(replay, path, gif.small(path, abandoned), course.gaps))
        except Exception as error:  # nobody reads this thread's result
            self._stalls += isinstance(error.__cause__, Stalled)
            if not (self._warned or self._abandoned.is_set() or self._stop()):
                self._warned = True
                self._say(f"no video: {error}. Its replay is kept")
