"""A check on the run itself: does an episode, played again, go as it did?

Replays, resumes and videos all rest on that; a ROM may hide a state that nobody has found yet.
"""

import threading
from collections.abc import Callable

from ppo.play import replay
from ppo.play.replay import CannotPlay, Replay, ReplayError
from ppo.process.signals import Interrupted
from ppo.settings import ResolvedParams
from ppo.trainer import Iteration


class Verifier:
    """Plays an episode again, in the background, every ``replay_check_interval`` steps.

    The result is awaited at the next checkpoint, so that what follows from it does not depend on
    how fast the background was.
    """

    def __init__(self, params: ResolvedParams):
        self.params, self.due = params, False
        self._checking: threading.Thread | None = None
        self._abandoned = threading.Event()
        self._mismatch: str | None = None
        self._tells = False  # the check in progress, something of the game
        self.was_seeded = False  # the episode of the last check, not only reset

    def see(self, iteration: Iteration) -> None:
        """Start a check, if one is due and an episode ended."""
        self.due |= iteration.crossed(self.params.replay_check_interval)
        if not (self.due and iteration.episodes) or self._checking:
            return
        # The one with the most resets behind it since its seed has the most to hide.
        episode = max(iteration.episodes, key=lambda episode: episode.reset.resets)
        checked, self.was_seeded = replay.of_run(episode, self.params), not episode.reset.resets
        self._checking = threading.Thread(target=self._check, args=[checked], daemon=True)
        self._checking.start()

    def mismatch(self, stop: Callable[[], bool]) -> str | None:
        """Wait for the check in progress: how the episode differed, or None. A check that ``stop``
        interrupts is due again, and so is one that could not be made.
        """
        while self._checking and self._checking.is_alive():
            self._checking.join(0.05)
            if stop():
                self._abandoned.set()
                return None
        if self._checking:
            self._checking, self.due = None, not self._tells
        found, self._mismatch = self._mismatch, None
        return found

    def _check(self, checked: Replay) -> None:
        self._tells = False
        try:
            replay.verify(checked, self._abandoned.is_set)
            self._tells = True
        except (CannotPlay, Interrupted):
            pass
        except ReplayError as error:
            self._mismatch, self._tells = str(error), True
