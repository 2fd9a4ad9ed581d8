"""Which frames of a game a video shows: the quiet stretches are left out."""

from collections.abc import Callable

from ppo.envs.screens import Frame
from ppo.replay.replay import Replay, frames_per_second

WHOLE_SECONDS = 300  # no game up to this length is cut
QUIET_SECONDS = 120  # time without a reward or a lost life after which frames are left out


class Course:
    """The frames that a video shows: after QUIET_SECONDS, none until something happens again."""

    def __init__(self, replay: Replay, watched: Callable[[int], None] = lambda _: None):
        """``watched`` is called with the number of each frame. Raises ReplayError."""
        self._rate = frames_per_second(replay)
        is_cut = replay.frames > WHOLE_SECONDS * self._rate
        self._most = QUIET_SECONDS * self._rate if is_cut else replay.frames
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

    def _length(self, count: int) -> str:
        seconds = round(count / self._rate)
        if not count:
            return ""
        return f"{seconds} seconds" if seconds < 120 else f"{round(seconds / 60)} minutes"
