"""Videos of replays, made in the background while training goes on."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ppo import video
from ppo.replay import FRAMES_PER_SECOND, VIDEO_SCALE, Replay, pictures


class Recorder:
    """Makes one video after another in a thread of its own; the emulator and ffmpeg do their
    work outside of Python's lock. A video that fails costs a warning, the first one only."""

    def __init__(self, warn: Callable[[str], None]):
        self._warn = warn
        self._warned = False
        self._abandoned = threading.Event()
        self._videos: list[Future] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="video")

    def record(self, replay: Replay, path: Path) -> None:
        """Make a video when its turn comes."""
        self._videos = [video for video in self._videos if not video.done()]
        self._videos.append(self._thread.submit(self._record, replay, path))

    def wait(self, stop: Callable[[], bool]) -> None:
        """Wait until all videos are made, or ``stop`` says so."""
        while not stop() and any(not video.done() for video in self._videos):
            time.sleep(0.05)

    def close(self, abandon: bool) -> None:
        """Finish all videos, or give up those that are not finished; their replays remain."""
        if abandon:
            self._abandoned.set()
        self._thread.shutdown(wait=True, cancel_futures=abandon)

    def _record(self, replay: Replay, path: Path) -> None:
        try:
            path.parent.mkdir(exist_ok=True)
            video.write(path, self._pictures(replay), FRAMES_PER_SECOND, VIDEO_SCALE)
        except Exception as error:  # of whatever kind: nothing reads this thread's result
            if not (self._warned or self._abandoned.is_set()):
                self._warned = True
                self._warn(f"no video: {error}. Training goes on; replays are kept")

    def _pictures(self, replay: Replay) -> Iterator[np.ndarray]:
        for picture in pictures(replay):
            if self._abandoned.is_set():
                raise video.VideoError("given up, since the run stops")
            yield picture
