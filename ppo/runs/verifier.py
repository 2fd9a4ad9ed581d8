"""A check on the run itself: whether an episode replays as it was played.

Replays, resumes and videos rely on that. A ROM may hide a state that nobody has found yet.
"""

import threading
from collections.abc import Callable

from ppo.envs.fleet import Fleet
from ppo.replay import replay
from ppo.replay.replay import CannotPlay, Replay, ReplayError
from ppo.runs.observers import DueState, Observer
from ppo.settings import ResolvedParams
from ppo.system.signals import Interrupted
from ppo.trainer import Iteration


class Verifier(Observer):
    """Replay an episode in the background every ``replay_check_interval`` steps.

    The next checkpoint waits for the result, so the speed of the background thread affects nothing.
    """

    name = "replay_check"

    def __init__(self, params: ResolvedParams, envs: Fleet, say: Callable[[str], None]):
        self.interval, self.envs, self.say = params.replay_check_interval, envs, say
        self._inexact = False  # whether an episode that began with a seed did not replay
        self._checking: threading.Thread | None = None
        self._abandoned = threading.Event()
        # How the episode differs; "" if it does not, None if it could not be replayed.
        self._outcome: str | None = None
        self._seeded = False  # whether the episode of the check began with a seed

    def state(self) -> DueState:
        """Return the state. A check in progress is wanted again: a last save does not wait."""
        return DueState(wanted=self.wanted or self._checking is not None)

    def see(self, iteration: Iteration) -> None:
        """Start a check if one is wanted and an episode ended."""
        self.wanted |= iteration.crossed(self.interval)
        if not (self.wanted and iteration.episodes) or self._checking:
            return
        # The episode with the most resets since its seed has the most to hide.
        episode = max(iteration.episodes, key=lambda episode: episode.reset.resets)
        checked = Replay.from_episode(episode, self.envs.rules)
        self._seeded = not episode.reset.resets
        self.wanted = False
        self._checking = threading.Thread(target=self._check, args=[checked], daemon=True)
        self._checking.start()

    def settle(self, stop: Callable[[], bool]) -> None:
        """Wait for the check in progress. An interrupted or impossible check is wanted again."""
        while self._checking and self._checking.is_alive():
            self._checking.join(0.05)
            if stop():
                self._abandoned.set()
                self.wanted = True
                return
        if self._checking:
            self._checking, self.wanted = None, self.wanted or self._outcome is None
            if self._outcome:
                self._report(self._outcome)

    def _report(self, mismatch: str) -> None:
        """After one inexact replay, begin every later episode with a seed. Say so once."""
        game = self.envs.rules.game
        differs = f"a replayed episode of {game} differs from its record ({mismatch})"
        if not self.envs.seeds_every_episode:
            self.envs.seed_every_episode()
            self.say(
                f"{differs}: from here on every episode begins with a seed. Replays of episodes "
                "before this may not be exact; please report the game"
            )
        elif self._seeded and not self._inexact:
            self._inexact = True
            self.say(
                f"{differs}, though it began with a seed: replays and resumes of this run may not "
                "be exact"
            )

    def _check(self, checked: Replay) -> None:
        self._outcome = None
        try:
            replay.verify(checked, self._abandoned.is_set)
            self._outcome = ""
        except (CannotPlay, Interrupted):
            pass
        except ReplayError as error:
            self._outcome = str(error)
