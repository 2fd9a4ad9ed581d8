"""What a process says that ends while TensorFlow starts, which holds back its messages."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN_ATARI = [sys.executable, ROOT / "run_atari.py", "--env=CartPole-v1"]
CRASHES = [signal.SIGABRT, signal.SIGILL, signal.SIGSEGV]
REQUESTS = [signal.SIGTERM, signal.SIGKILL]

TENSORFLOW = """
import os, signal
os.write(2, b"this processor has no AVX\\n    @ 0x7ff5 a frame\\n")
ENDS
"""


def started(tmp_path: Path, ends: str) -> subprocess.CompletedProcess:
    """A process in which the import of TensorFlow comes to such an end."""
    (tmp_path / "keras.py").touch()
    (tmp_path / "tensorflow.py").write_text(TENSORFLOW.replace("ENDS", ends))
    return subprocess.run(
        [*RUN_ATARI, f"--logdir={tmp_path / 'run'}"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )


STARTS = """
import os, threading
from ppo.system.tensorflow_start import start_tensorflow

threads = [threading.Thread(target=start_tensorflow, args=[1]) for _ in range(THREADS)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if not threads: start_tensorflow(1)
os.write(2, b"the program\\n")
"""
FAKE = """
import os, sys, time
from unittest.mock import MagicMock
os.write(2, b"TensorFlow\\n")
print("hidden" if "matplotlib" in sys.modules else "free")
time.sleep(0.2)
sys.modules[__name__] = MagicMock()
sys.modules[__name__].backend.backend.return_value = "tensorflow"
"""


def fake(tmp_path: Path, code: str) -> subprocess.CompletedProcess:
    """Run a program whose TensorFlow does nothing."""
    (tmp_path / "keras.py").write_text(FAKE)
    (tmp_path / "tensorflow.py").write_text(FAKE)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("threads", "modules", "said"),
    [(0, "hidden", ""), *[(n, "free", "TensorFlow\n" * 2) for n in (1, 2)]],
)
def test_threads_beside_the_start_lose_nothing(tmp_path, threads, modules, said):
    done = fake(tmp_path, STARTS.replace("THREADS", str(threads)))
    assert done.stdout.split() == [modules] * 2
    assert done.stderr == said + "the program\n"


CLOSED = """
import os, sys
os.close(0)
from pathlib import Path
from ppo.files.held import held
from ppo.system.tensorflow_start import start_tensorflow
start_tensorflow(1)
with held(Path()) as path: print(int(path.name) > 2)
"""


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path):
    assert fake(tmp_path, CLOSED).stdout.split() == ["hidden"] * 2 + ["True"]


@pytest.mark.parametrize("number", CRASHES)
def test_a_crash_shows_what_was_held_back(tmp_path, number):
    done = started(tmp_path, f"signal.raise_signal({int(number)})")
    assert done.returncode == -number and not (tmp_path / "run").exists()
    first, last = done.stderr.splitlines()
    assert first == "this processor has no AVX"
    assert last.startswith("TensorFlow ended this process as it started (")
    assert "memory" in last and "AVX" in last


@pytest.mark.parametrize("number", REQUESTS)
def test_a_process_that_is_asked_to_end_says_nothing(tmp_path, number):
    done = started(tmp_path, f"os.kill(os.getpid(), {int(number)})")
    assert (done.returncode, done.stderr) == (-number, "")


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        ("raise ImportError('no libtensorflow.so')", 2, "TensorFlow cannot be imported (no libt"),
        ("import no_such_package", 2, "No module named 'no_such_package'"),
        ("raise SystemExit(7)", 7, "no AVX"),
    ],
)
def test_a_failed_import_shows_it_too_and_one_message(tmp_path, ends, code, said):
    done = started(tmp_path, ends)
    assert done.returncode == code and not (tmp_path / "run").exists()
    assert done.stderr.startswith("this processor has no AVX\n")
    assert said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("kilobytes", [1_500_000])
def test_tensorflow_without_memory_is_one_message(tmp_path, kilobytes):
    """Each limit ends it elsewhere: in the loader, and where it makes its threads."""
    done = subprocess.run(
        [*RUN_ATARI, f"--logdir={tmp_path / 'run'}"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1024 * kilobytes,) * 2),
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert last.startswith("TensorFlow ") and "memory" in last
    assert "Traceback" not in done.stderr and "    @ " not in done.stderr
