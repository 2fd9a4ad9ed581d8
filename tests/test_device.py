"""How TensorFlow is started, in processes of their own."""

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppo.system import device, tensorflow_start

ROOT = Path(__file__).parents[1]

STRATEGY = """
from ppo.system.tensorflow_start import start_tensorflow

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
from ppo.errors import Refused
from ppo.system.tensorflow_start import start_tensorflow
try:
    start_tensorflow(2)
except Refused as error:
    print("refused", error)
"""

REMEDY = "tf.config.threading.set_intra_op_parallelism_threads(1)"

KERAS_WAS_TOLD_OTHERWISE = """
import os, sys
os.close(2)  # nor is there a stream for messages
sys.stderr = None
from ppo.system.tensorflow_start import import_tensorflow, set_environment, start_tensorflow
set_environment()
tf, keras = import_tensorflow()
keras.config.set_dtype_policy("mixed_bfloat16")
tf.config.run_functions_eagerly(True)
tf.config.optimizer.set_jit(True)
start_tensorflow(1)
print(tf.config.functions_run_eagerly(), tf.config.optimizer.get_jit() or "none")
print(keras.backend.backend(), keras.config.floatx(), keras.config.image_data_format())
print(keras.config.epsilon(), keras.layers.Dense(1).compute_dtype)
"""
ANOTHER_KERAS = """
import sys, types
keras = types.ModuleType("keras")
keras.backend = types.SimpleNamespace(backend=lambda: "jax")
sys.modules["keras"] = keras
from ppo.errors import Refused
from ppo.system.tensorflow_start import start_tensorflow
try:
    start_tensorflow(1)
except Refused as error:
    print(error)
"""
NO_TEMPORARY_FOLDER = """
import tempfile

def none():
    raise FileNotFoundError(2, "No usable temporary directory found")

tempfile._get_default_tempdir = none
from ppo.errors import Refused
from ppo.system.tensorflow_start import start_tensorflow
try:
    start_tensorflow(1)
except Refused as error:
    print(error)
"""


def run(code: str, **more: str) -> subprocess.CompletedProcess:
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=bare | more, capture_output=True, text=True
    )


def test_keras_configuration_of_the_user_changes_nothing(tmp_path):
    (tmp_path / ".keras").mkdir()
    settings = {"floatx": "float16", "epsilon": 0.1, "backend": "jax"}
    settings["image_data_format"] = "channels_first"
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(settings))
    done = run(KERAS_WAS_TOLD_OTHERWISE, HOME=str(tmp_path), KERAS_BACKEND="jax")
    assert done.stdout.split() == [
        "False",
        "none",
        "tensorflow",
        "float32",
        "channels_last",
        "1e-07",
        "float32",
    ]


def test_keras_makes_no_folder_for_a_user_without_a_home():
    code = "import os; os.path.expanduser = str; from ppo.system import tensorflow_start\n"
    code += "tensorflow_start.set_environment(); print(os.environ['KERAS_HOME'])"
    assert run(code).stdout == f"{os.devnull}\n"


def test_a_process_whose_keras_runs_on_something_else_is_refused():
    done = run(ANOTHER_KERAS)
    assert done.stdout.startswith("Keras already runs on jax"), done.stderr


def test_without_a_folder_for_temporary_files_one_line_says_what_to_do():
    done = run(NO_TEMPORARY_FOLDER)
    assert "set TMPDIR" in done.stdout and done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_available_memory_comes_from_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    assert 2**20 < device.available_memory() < 2**60
    assert device.available_memory() % 1024 == 0


def test_where_the_system_says_nothing_memory_is_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    monkeypatch.setattr(device, "open", lambda _: io.StringIO("MemFree: 1 kB\n"), raising=False)
    assert device.available_memory() == math.inf


def test_memory_of_a_container_is_what_its_limit_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    of_machine = device.available_memory()
    facts = {"max": "max", "current": f"{3 * 2**20}", "stat": f"anon 5\ninactive_file {2**20}\n"}
    for name, content in facts.items():
        (tmp_path / f"memory.{name}").write_text(content)
    assert device.available_memory() == pytest.approx(of_machine, rel=0.2)  # without a limit
    (tmp_path / "memory.max").write_text(f"{10 * 2**20}\n")
    assert device.available_memory() == 8 * 2**20


def test_memory_of_a_gpu_is_left_to_other_processes(monkeypatch):
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    tensorflow_start.set_environment()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


def test_workers_are_connected_before_any_operation_runs():
    done = run(STRATEGY)
    assert done.stdout.splitlines() == ["False", "1"], done.stderr
    assert done.stderr == ""


def test_a_process_that_computes_with_other_threads_is_refused():
    done = run(USED_BEFORE)
    assert done.stdout.startswith("refused"), done.stderr
    assert REMEDY in done.stdout
    assert "TF_ENABLE_ONEDNN_OPTS" in done.stderr  # and warned that it came too late


def test_a_process_that_computes_with_one_thread_per_operation_is_not_refused():
    done = run(f"import tensorflow as tf\n{REMEDY}\n{USED_BEFORE}\nprint('started')")
    assert done.stdout == "started\n", done.stderr
