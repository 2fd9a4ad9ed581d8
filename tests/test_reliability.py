"""The drills of `python -m ppo.drill`, and two equal runs. Real processes, really killed."""

import subprocess
import sys
import time

import pytest

from ppo import curves, drill, params, train


@pytest.mark.parametrize(("name", "scenario"), drill.DRILLS, ids=[name for name, _ in drill.DRILLS])
def test_drill(name, scenario, tmp_path):
    scenario(tmp_path)


@pytest.mark.parametrize("threads", [1, 2])
def test_two_equal_runs_have_equal_fingerprints(threads, tmp_path):
    settings = drill.SHORT_CART_POLE | {"threads": threads}
    for name in ("first", "second"):
        code, output = drill.run(tmp_path / name, settings)
        assert code == 0, output
    assert drill.fingerprint(tmp_path / "first") == drill.fingerprint(tmp_path / "second")


def test_a_fingerprint_tells_runs_apart(tmp_path):
    for name, seed in (("first", 1), ("second", 2)):
        assert drill.run(tmp_path / name, drill.SHORT_CART_POLE | {"seed": seed})[0] == 0
    assert drill.fingerprint(tmp_path / "first") != drill.fingerprint(tmp_path / "second")


def test_a_path_with_spaces_and_other_alphabets(tmp_path):
    logdir = tmp_path / "läufe und 走る" / "ein lauf"
    logdir.parent.mkdir()
    code, output = drill.run(logdir, drill.SHORT_CART_POLE)
    assert code == 0, output
    assert drill.run(logdir, None)[0] == 0


def test_clock_of_a_run_begins_with_its_command_and_goes_on_over_a_resume(tmp_path):
    settings = params.Params(**drill.SHORT_CART_POLE | {"total_steps": 512, "threads": 2})
    train.run(settings, tmp_path, began=time.monotonic() - 1000)
    train.resume(tmp_path, ["total_steps=1024"], began=time.monotonic() - 500)
    seconds = [float(row["time/time_elapsed"]) for row in curves.progress(tmp_path)]
    assert len(seconds) == 4 and seconds == sorted(seconds)
    assert seconds[0] > 1000 and seconds[1] < 1100
    assert seconds[2] > 1500 and seconds[3] < 1600


# As a full disk does it to the last resort, of which there is no second one.
FAILS_TO_SAVE = """
import sys, threading
from ppo.startup import start_tensorflow
start_tensorflow(1)
from ppo import drill, params, train

def store(self, *arguments):
    if threading.current_thread() is not threading.main_thread():
        raise OSError("no space left")

train._Run._store = store
stuck = drill.SHORT_CART_POLE | {"env_id": "ppo.drill:StuckCartPole-v0"}
train.run(params.Params(**stuck), sys.argv[1])
"""


def test_a_last_resort_that_fails_ends_the_run_all_the_same(tmp_path):
    command = [sys.executable, "-c", FAILS_TO_SAVE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while len(curves.progress(tmp_path)) < 3:
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(1)
        process.terminate()
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "could not be saved: no space left" in output
