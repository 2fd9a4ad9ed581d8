"""How a run can end before it is done."""

import numpy as np


class Stopped(Exception):
    """The run was asked to stop; everything was saved."""


class Diverged(Exception):
    """A loss or a gradient was not finite; it was not applied. ``batch`` led to it."""

    def __init__(self, step: int, batch: dict[str, np.ndarray]):
        self.step, self.batch = step, batch
        super().__init__(
            f"a number was not finite after step {step}; nothing of it was applied. Lower "
            "learning_rate, or look for rewards or observations that are not finite"
        )
