"""How TensorFlow is started, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

STRATEGY = """
from ppo.process.device import start_tensorflow

def connect():
    import tensorflow as tf
    from tensorflow.python.eager import context
    # Making a context is what the first operation does; a strategy must be made before.
    return context.context()._initialized

print(start_tensorflow(2, connect))
import tensorflow as tf
print(tf.config.threading.get_intra_op_parallelism_threads())
start_tensorflow(1)  # again, which changes nothing
"""
USED_BEFORE = """
import tensorflow as tf
tf.zeros(3) + 1
from ppo.process.device import DeviceError, start_tensorflow
try:
    start_tensorflow(2)
except DeviceError as error:
    print("refused", error)
"""


def run(code: str) -> subprocess.CompletedProcess:
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=bare, capture_output=True, text=True
    )


def test_workers_are_connected_before_any_operation_runs():
    done = run(STRATEGY)
    assert done.stdout.splitlines() == ["False", "1"], done.stderr
    assert done.stderr == ""


def test_a_process_that_computes_with_other_threads_is_refused():
    done = run(USED_BEFORE)
    assert done.stdout.startswith("refused"), done.stderr
    assert "TF_ENABLE_ONEDNN_OPTS" in done.stderr  # and warned that it came too late
