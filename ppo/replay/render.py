"""Videos of replays: the game's frames alone, or beside a panel of what the network does."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ppo.envs.screens import Frame
from ppo.envs.vector import EnvVector
from ppo.files import video
from ppo.replay import panel
from ppo.replay.drawing import AMBER, BRIGHT, canvas, write
from ppo.replay.panel import MOST_CHANNELS, MOST_NUMBERS, Caption, Panel
from ppo.replay.replay import Replay, env_at_start, frames, frames_per_second, step_of, title
from ppo.system.streams import duration

if TYPE_CHECKING:
    from ppo.policy import Policy

WHOLE_SECONDS = 300  # no game up to this length is cut
QUIET_SECONDS = 120  # time without a reward or a lost life after which frames are left out
# The last frame is held, with the score across it; the console never shows the last point.
HELD_SECONDS = 2
MOST_WIDE, MOST_HIGH = 960, panel.HEIGHT

Pictures = Iterator[np.ndarray]


class Course:
    """Which frames a video shows. A video of a long game leaves out what follows QUIET_SECONDS
    without a reward or a lost life, until the next one.
    """

    def __init__(self, replay: Replay, watched: Callable[[int], None] = lambda _: None):
        """``watched`` is called with the number of each frame. Raises ReplayError."""
        self.rate, self._score = frames_per_second(replay), replay.score
        is_cut = replay.frames > WHOLE_SECONDS * self.rate
        self._most = QUIET_SECONDS * self.rate if is_cut else replay.frames
        self._watched = watched
        self._frames = self._quiet = self._lives = self._hidden = 0
        self._left_out = 0

    def shows(self, frame: Frame) -> bool:
        happened = frame.reward != 0 or frame.lives < self._lives
        self._frames, self._lives = self._frames + 1, frame.lives
        self._quiet = 0 if happened else self._quiet + 1
        self._watched(self._frames)
        shown = self._quiet <= self._most or frame.over
        self._hidden += not shown
        return shown

    def take_gap(self) -> str:
        """Return the duration of the frames left out since the last call; empty if none were."""
        hidden, self._hidden = self._hidden, 0
        self._left_out += hidden
        return self._length(hidden)

    @property
    def gaps(self) -> str:
        """Return a sentence about everything that was left out; empty if nothing was."""
        length = self._length(self._left_out)
        return length and f"The video leaves out {length} without a reward or a lost life."

    def still(self, whole: np.ndarray, place: np.ndarray, gap: str = "") -> Pictures:
        """Yield a frame for HELD_SECONDS. ``place`` shows a gap's length or the final score."""
        if gap:
            _draw_band(place, "left out: nothing happens for", gap)
        else:
            draw_score(place, self._score)
        for _ in range(round(HELD_SECONDS * self.rate)):
            yield whole

    def _length(self, count: int) -> str:
        return duration(count / self.rate) if count else ""


def record(
    replay: Replay,
    path: Path,
    course: Course,
    policy: "Policy | None" = None,
    abandoned: Callable[[], bool] = lambda: False,
) -> int:
    """Make a video of an episode at its true speed. ``policy`` played the episode; if given, a
    panel is shown. Return the number of frames, including still ones at gaps and at the end. Raises
    video.VideoError, also if it is ``abandoned``, or ReplayError; no file is left behind.
    """
    images = annotated(replay, policy, course) if policy else plain(replay, course)
    return video.write(path, images, course.rate, title(replay), abandoned=abandoned)


def plain(replay: Replay, course: Course) -> Pictures:
    """Yield the game's frames, enlarged. The last is held with the final score."""
    whole = np.empty(0)
    for frame in frames(replay):
        if not course.shows(frame):
            continue
        if gap := course.take_gap():
            yield from course.still(whole, whole, gap)
        whole = enlarged(frame.image, np.empty_like(whole) if whole.size else None)
        yield whole
    yield from course.still(whole, whole)


def annotated(replay: Replay, policy: "Policy", course: Course) -> Pictures:
    """Yield the frames beside a panel, in one array. The last is held with the final score."""
    with closing(env_at_start(replay)) as vector:
        side: Panel | None = None
        undecided: tuple[np.ndarray, int] | None = None
        actions = iter(replay.actions)
        for number, frame in enumerate(frames(replay)):
            if side is None:
                whole, place, free = beside(enlarged(frame.image))
                side = Panel(_caption(replay, policy, vector, frame.lives > 0), free)
            if number % replay.rules.frames_per_step == 0:
                if undecided:
                    side.skip()
                undecided = vector.observations[0].copy(), next(actions)
                vector.send(np.array([undecided[1]]))
                vector.receive()
            if not course.shows(frame):
                continue
            if gap := course.take_gap():
                yield from course.still(whole, place, gap)
            if undecided:
                observation = undecided[0][np.newaxis]
                probabilities, values = policy.probabilities_and_values(observation)
                side.decide(*undecided, probabilities[0], float(values[0]))
                undecided = None
            side.see(frame.reward, frame.lives)
            enlarged(frame.image, place)
            yield whole
        yield from course.still(whole, place)


def _caption(replay: Replay, policy: "Policy", vector: EnvVector, has_lives: bool) -> Caption:
    names = [name.partition("_")[2] for name in vector.action_names]
    *image, count = vector.observations.shape[1:]
    inputs = ""
    if not image and count > MOST_NUMBERS:
        inputs = ": its first numbers"
    elif image and count > MOST_CHANNELS:
        inputs = ": its last channels"
    elif image and count > 1:
        inputs = ", the newest at the right" if replay.rules.is_atari else ", by channel"
    return Caption(
        replay.game.replace("_", " "),
        f"{policy.choice} policy of step {step_of(replay):,}",
        [name or f"action {number}" for number, name in enumerate(names)],
        inputs,
        replay.steps,
        has_lives,
    )


def beside(large: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an empty frame, its left part of the size of ``large``, and its free right part."""
    height, width = large.shape[:2]
    whole = canvas(panel.HEIGHT, width + panel.WIDTH)
    top = (panel.HEIGHT - height) // 2
    return whole, whole[top : top + height, :width], whole[:, width:]


def draw_score(on: np.ndarray, score: float) -> None:
    """Write the final score across a frame of a game."""
    _draw_band(on, "final score", f"{score:,.10g}")


def _draw_band(on: np.ndarray, small: str, large: str) -> None:
    height, width = on.shape[:2]
    size = min(width, 0.762 * height) / 500  # fits the band, whose height follows the frame's
    band = on[round(0.42 * height) : round(0.58 * height)]
    band[:] = band // 4
    middle = band.shape[0] // 2
    write(band, small, width // 2, round(middle - 8 * size), size, BRIGHT, align=0.5)
    write(band, large, width // 2, round(middle + 44 * size), 1.8 * size, AMBER, True, align=0.5)


def enlarged(image: np.ndarray, place: np.ndarray | None = None) -> np.ndarray:
    """Enlarge a frame by the largest whole factor that fits, each pixel a sharp square. Shrink a
    frame that is too large. If ``place`` is given, the result is in it and has its size.
    """
    height, width = image.shape[:2]
    scale = min(MOST_WIDE / width, MOST_HIGH / height)
    interpolation = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
    scale = int(scale) if scale >= 1 else scale
    # Videos need even sides.
    size = [max(2, round(side * scale) // 2 * 2) for side in (width, height)]
    if place is not None:  # a game's images may change their size
        size = [place.shape[1], place.shape[0]]
    return cv2.resize(image, size, place, interpolation=interpolation)
