"""What a run does besides training: the protocol of its observers."""

from collections.abc import Callable

import numpy as np

from ppo.checkpoint import Checkpoint, State
from ppo.trainer import Iteration


class DueState(State):
    """The state of an observer without a state class of its own."""

    due: bool = False
    wanted: bool = False


class Observer:
    """Sees each iteration of a run, and acts when the observer itself is ``due``. Videos and replay
    checks are ``wanted`` instead: ``see`` starts them with the next episode that ends.

    A checkpoint contains its state under its ``name``; without a name it has no state. A run is not
    done while an observer is due. If an observer ``saves``, the run's state is saved after it acts.
    Before such an observer acts, the state is kept in memory, to be saved if the process must end.
    """

    name = ""
    saves = False
    due = wanted = False

    def see(self, iteration: Iteration) -> None:
        """Note an iteration. Work that a stop should interrupt belongs in ``act``."""

    def act(self, step: int, stop: Callable[[], bool]) -> None:
        """Do what is due. On a request to stop, raise Interrupted and stay due."""

    def settle(self, stop: Callable[[], bool]) -> None:
        """Finish work that the next checkpoint relies on, or abandon it on a request to stop."""

    def state(self) -> State:
        """Return the state that ``restore`` continues from, except ``arrays``."""
        return DueState(due=self.due, wanted=self.wanted)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the state, under names unique to this observer."""
        return {}

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint. Raises CheckpointError for a state that no run wrote."""
        state = saved.part(self.name, DueState)
        self.due, self.wanted = state.due, state.wanted
