import sys

import pytest

from ppo.process.device import set_environment, start_tensorflow

# Before any test imports TensorFlow.
set_environment()


@pytest.fixture(scope="session", autouse=True)
def _tensorflow():
    """Unless only tests are run that do without it."""
    if "tensorflow" in sys.modules:
        start_tensorflow(threads=2)
