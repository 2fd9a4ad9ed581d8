"""What a fork of the server in tests/forked.py finds imported. No operation of TensorFlow runs
here: its threads would not be in the fork.
"""

from ppo.system.tensorflow_start import import_tensorflow, set_environment

set_environment()
import_tensorflow()

import run_atari  # noqa: E402, F401
