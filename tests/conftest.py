import functools
import os
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

from ppo.system.tensorflow_start import set_environment, start_tensorflow

LIGHT = Path(__file__).with_name("light")

# On a busy machine any example may take long.
hypothesis.settings.register_profile("default", deadline=None)

# Before any test imports TensorFlow.
set_environment()


@pytest.fixture(scope="session", autouse=True)
def _tensorflow(request):
    """Unless only tests are run that do without it."""
    if any(LIGHT not in item.path.parents for item in request.session.items):
        start_tensorflow(threads=2)


@pytest.fixture(scope="session", autouse=True)
def _signals():
    """Those that a terminal sends are not ignored, as they are in a job of the background."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


# What changes how terminals look, which worker a process is, and who carries its messages: gRPC
# asks a proxy for workers on this machine, too.
OF_THE_CALLER = {
    *("FORCE_COLOR", "TTY_COMPATIBLE", "TF_CONFIG", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GRPC_PROXY"),
}


@pytest.fixture(scope="session", autouse=True)
def _surroundings():
    """Remove the caller's umask and environment variables from the tests."""
    os.umask(0o022)
    for name in list(os.environ):
        if name.upper() in OF_THE_CALLER:
            del os.environ[name]


@pytest.fixture(autouse=True)
def _modules(tmp_path_factory):
    """Forget the modules that a test wrote and imported: the next test may write others."""
    before = set(sys.modules)
    yield
    written = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(written):
            del sys.modules[name]


@pytest.fixture(params=["eager", "compiled"])
def run(request):
    """Calls a function as it is, or as one graph."""
    if request.param == "eager":
        return lambda f: f
    import tensorflow as tf

    return functools.partial(tf.function, autograph=False)


@pytest.fixture
def computes_in_bfloat16(monkeypatch):
    """As on a machine whose processor does, and is faster in it, without a GPU."""
    monkeypatch.setattr("ppo.system.device.processor_has_bfloat16", lambda: True)
    monkeypatch.setattr("ppo.system.device.bfloat16_is_faster", lambda: True)
    monkeypatch.setattr("ppo.system.device.has_gpu_driver", lambda: False)


def pytest_collection_modifyitems(items):
    """Begin with the slow files and end with the light ones, so no worker ends with a slow file
    alone.
    """
    long = ("test_reliability", "test_workers", "test_update", "test_envs", "test_fork")
    items.sort(key=lambda item: (LIGHT in item.path.parents, item.path.stem not in long))
