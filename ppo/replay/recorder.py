"""Make videos of replays in the background while training continues."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ppo.files import video
from ppo.files.ffmpeg import Stalled
from ppo.replay.render import Course, record
from ppo.replay.replay import Replay, step_of
from ppo.system.streams import counted

PATIENCE_SECONDS = 5.0  # after which a run reports what it waits for
LATER = "--resume makes them later"


@dataclass(frozen=True)
class FinishedVideo:
    """A finished video: its replay, its path, a small GIF, and a note about what it leaves out."""

    replay: Replay
    path: Path
    gif: bytes
    gaps: str = ""

    @property
    def step(self) -> int:
        return step_of(self.replay)

    @property
    def message(self) -> str:
        name = f"{self.path.parent.name}/{self.path.name}"
        message = f"step {self.step:,}: video, score {self.replay.score:.10g}: {name}"
        return f"{message}. {self.gaps}" if self.gaps else message


class Recorder:
    """Make one video after another in a thread, mostly outside Python's global lock. Only the first
    failure is reported, and none after ``stop``: what ends the run may have ended ffmpeg too.
    """

    def __init__(self, say: Callable[[str], None], stop: Callable[[], bool]):
        self._say, self._stop = say, stop
        self._warned = False
        self._stalls = 0  # how often ffmpeg has hung
        self._abandoned = threading.Event()
        self._videos: list[Future[FinishedVideo | None]] = []  # None for one that failed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="video")

    def record(self, replay: Replay, path: Path) -> None:
        self._videos.append(self._thread.submit(self._record, replay, path))

    def made(self) -> Iterator[FinishedVideo]:
        """Yield each finished video once."""
        while self._videos and self._videos[0].done():
            if made := self._videos.pop(0).result():
                yield made

    def wait(self) -> None:
        """Wait for all videos, a stop, or a hanging ffmpeg. A long wait is reported."""
        says_at, stalls = time.monotonic() + PATIENCE_SECONDS, self._stalls
        while not self._stop() and self._stalls == stalls:
            if not (left := sum(not video.done() for video in self._videos)):
                break
            if time.monotonic() > says_at:
                says_at = math.inf
                videos = counted(left, "video")
                self._say(f"waiting for {videos}; Ctrl-C ends the run now, and {LATER}")
            time.sleep(0.05)
        if self._stalls > stalls:
            self._say(f"ffmpeg hangs, so the run ends without its last videos; {LATER}")

    def close(self) -> None:
        """Abandon unfinished videos. Their replays are kept."""
        self._abandoned.set()
        self._thread.shutdown(cancel_futures=True)

    def _record(self, replay: Replay, path: Path) -> FinishedVideo | None:
        try:
            path.parent.mkdir(exist_ok=True)
            course, abandoned = Course(replay), self._abandoned.is_set
            record(replay, path, course, abandoned=abandoned)
            return FinishedVideo(replay, path, video.small_gif(path, abandoned), course.gaps)
        except Exception as error:
            self._stalls += isinstance(error.__cause__, Stalled)
            if not (self._warned or self._abandoned.is_set() or self._stop()):
                self._warned = True
                missing = "" if path.exists() else "no video: "  # its GIF may fail alone
                self._say(f"{missing}{error}. Its replay is kept")
            return None
