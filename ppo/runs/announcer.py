"""The videos that were made while the run went on: told, and shown in the log."""

from collections.abc import Callable

from ppo.files.log import Log
from ppo.play.recorder import Recorder

TAG = "videos/training"


class Announcer:
    """Says of each video where it is, and writes a GIF of it into the log. Both happen in the main
    thread, since nothing else may write into the log.
    """

    def __init__(
        self, recorder: Recorder, log: Log, say: Callable[[str], None], pictured: int = -1
    ):
        """``pictured`` is the step of the newest video that the log has a GIF of."""
        self.recorder, self.log, self.say, self.pictured = recorder, log, say, pictured

    def announce(self) -> None:
        """Announce the videos that were made since the last call."""
        for made in self.recorder.made():
            self.say(made.told)
            if made.step > self.pictured:
                self.log.picture(made.step, TAG, made.gif)
                self.pictured = made.step
