"""Random numbers without state: every random number is keyed by (seed, purpose, counters).

A resumed run therefore samples exactly what the unbroken run would have sampled, with no generator
to save.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The use of a random number. Never renumber the members: a run depends on the values."""

    NETWORK = 0
    GAME = 1
    ACTION = 2
    SHUFFLE = 3
    EVALUATION_GAME = 4
    EVALUATION_ACTION = 5
    DIAGNOSIS = 6
    STAND_IN = 7
    PREDICTION = 8


def key(seed: int, purpose: Purpose, *counters: int) -> np.ndarray:
    """Return two int32, the ``seed`` of TensorFlow's stateless random functions."""
    words = np.random.SeedSequence([seed, purpose, *counters]).generate_state(2)
    return words.view(np.int32)


def seed31(seed: int, purpose: Purpose, *counters: int) -> int:
    """Return an integer in [0, 2^31), the only seeds that the emulator takes."""
    return int(key(seed, purpose, *counters)[0]) & 0x7FFFFFFF
