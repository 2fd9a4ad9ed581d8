"""What a run does besides training: the protocol of its observers, and the state of all."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ppo.checkpoint import Checkpoint, State
from ppo.runs.trainer_state import capture
from ppo.trainer import Iteration, Trainer


class Waiting(State):
    """What most observers keep."""

    due: bool = False
    wanted: bool = False


class Observer:
    """A part of a run that sees each iteration, and acts where it is ``due``; where only something
    is ``wanted``, it waits for an episode that ends.

    A checkpoint has its state under its ``name``. A run with anything due is not done. An observer
    that ``saves`` has the state saved after it acted, and kept for the last resort before.
    """

    name: str
    saves = False
    due = wanted = False

    def see(self, iteration: Iteration) -> None:
        """Note an iteration. What takes no time may be done here."""

    def act(self, step: int, stop: Callable[[], bool]) -> None:
        """Do what is due. Raises Interrupted at a request to stop, and then stays due."""

    def settle(self, stop: Callable[[], bool]) -> None:
        """Finish what the next checkpoint relies on, or abandon it at a request to stop."""

    def state(self) -> State:
        """Return what ``restore`` continues from, beside ``arrays``."""
        return Waiting(due=self.due, wanted=self.wanted)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the state, by names that are its own."""
        return {}

    def restore(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint. Raises CheckpointError for a state that no run wrote."""
        state = saved.part(self.name, Waiting)
        self.due, self.wanted = state.due, state.wanted


def state_of(trainer: Trainer, observers: Sequence[Observer]) -> Checkpoint:
    """Return the state of a whole run."""
    saved = capture(trainer)
    arrays = {name: array for one in observers for name, array in one.arrays().items()}
    parts = {one.name: one.state().model_dump() for one in observers}
    return replace(saved, arrays=saved.arrays | arrays, parts=parts)
