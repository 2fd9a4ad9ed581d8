import pytest

from ppo.startup import start_tensorflow


@pytest.fixture(scope="session", autouse=True)
def _tensorflow():
    start_tensorflow(threads=2)
