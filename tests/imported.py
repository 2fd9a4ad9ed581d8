"""What a fork of the server in tests/forked.py finds imported. No operation of TensorFlow runs
here: its threads would not be in the fork.
"""

import gc

from ppo.process.device import set_environment

set_environment()
gc.disable()

import keras  # noqa: E402, F401
import tensorflow  # noqa: E402, F401

import run_atari  # noqa: E402, F401
from ppo import train  # noqa: E402, F401
from ppo.play import show, watch  # noqa: E402, F401

gc.freeze()
gc.enable()
