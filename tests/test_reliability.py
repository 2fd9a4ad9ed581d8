"""The drills of `python -m ppo.drill`, and two equal runs. Real processes, really killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from ppo import checkpoint, train
from ppo.drill import __main__ as drill
from ppo.errors import ExitCode
from ppo.files.folder import RunFolder
from ppo.runs.keeper import LOCK_SECONDS
from ppo.settings import Params
from ppo.system.signals import DEADLINE_SECONDS, GRACE_SECONDS
from ppo.telemetry import progress
from tests.forked import Forked
from tests.processes import wait_until


@pytest.fixture(autouse=True)
def _forked(monkeypatch):
    """The drills start their runs without an import of TensorFlow each."""

    def start(logdir, settings, limit_bytes=None):
        what = drill.beginning(logdir, settings)
        return Forked([f"--logdir={logdir}", what], None, os.environ, limit_bytes, True)

    monkeypatch.setattr(drill, "start", start)


@pytest.mark.parametrize(("name", "scenario"), drill.DRILLS, ids=[name for name, _ in drill.DRILLS])
def test_drill(name, scenario, tmp_path, monkeypatch):
    monkeypatch.setattr(drill, "KILLS", 1)
    scenario(tmp_path)


@pytest.fixture(scope="module")
def cart_pole(tmp_path_factory) -> Path:
    """A finished run of CartPole."""
    logdir = tmp_path_factory.mktemp("cart_pole") / "run"
    code, output = drill.run(logdir, drill.SHORT_CART_POLE)
    assert code == 0, output
    return logdir


def test_two_equal_runs_have_equal_fingerprints_wherever_they_are(cart_pole, tmp_path):
    logdir = tmp_path / "läufe und 走る" / "ein lauf"
    logdir.parent.mkdir()
    code, output = drill.run(logdir, drill.SHORT_CART_POLE)
    assert code == 0, output
    assert drill.fingerprint(logdir) == drill.fingerprint(cart_pole)
    assert drill.run(logdir, None)[0] == 0


def test_a_fingerprint_distinguishes_runs(cart_pole, tmp_path):
    assert drill.run(tmp_path / "run", drill.SHORT_CART_POLE | {"seed": 6})[0] == 0
    assert drill.fingerprint(tmp_path / "run") != drill.fingerprint(cart_pole)


def test_a_fingerprint_depends_on_which_policy_is_kept_as_the_best(cart_pole, tmp_path):
    folder = RunFolder(shutil.copytree(cart_pole, tmp_path / "run"))
    best = folder.checkpoints / checkpoint.BEST
    best.write_bytes(checkpoint.encode(replace(checkpoint.chosen(folder, "best"), step=1)))
    assert drill.fingerprint(folder.path) != drill.fingerprint(cart_pole)


def test_two_equal_runs_with_two_threads_have_equal_fingerprints(tmp_path):
    settings = drill.SHORT_CART_POLE | {"threads": 2, "total_steps": 1024}
    for name in ("first", "second"):
        code, output = drill.run(tmp_path / name, settings)
        assert code == 0, output
    assert drill.fingerprint(tmp_path / "first") == drill.fingerprint(tmp_path / "second")


def test_a_resume_removes_the_replays_of_steps_that_a_kill_discarded(tmp_path):
    short = {"total_steps": 512, "threads": 2, "clip_rewards": True, "video_interval": 128}
    train.run(Params(**drill.SHORT_CART_POLE | short), tmp_path)
    replays = RunFolder(tmp_path).replays
    *_, newest = kept = sorted(replays.iterdir())
    discarded = json.loads(newest.read_text()) | {"step": 768}
    left = replays / newest.name.replace("step-", "step-9").replace("-to-", "-to-9")
    left.write_text(json.dumps(discarded))
    train.resume(tmp_path, ["total_steps=768", "video_interval=0"])
    assert sorted(replays.iterdir()) == kept


def test_clock_of_a_run_begins_with_its_command_and_continues_over_a_resume(tmp_path):
    settings = Params(**drill.SHORT_CART_POLE | {"total_steps": 512, "threads": 2})
    train.run(settings, tmp_path, began=time.monotonic() - 1000)
    train.resume(tmp_path, ["total_steps=1024"], began=time.monotonic() - 500)
    seconds = [row["time/time_elapsed"] for row in progress.numbers(tmp_path)]
    assert len(seconds) == 4 and seconds == sorted(seconds)
    assert seconds[0] > 1000 and seconds[1] < 1100
    assert seconds[2] > 1500 and seconds[3] < 1600


def test_the_main_thread_and_the_last_resort_share_less_than_ten_seconds():
    assert GRACE_SECONDS + LOCK_SECONDS < DEADLINE_SECONDS <= 9.5


# What a disk may do to the last resort, of which there is no second one: it fails, or it hangs.
# The waits are shorter here; the drill of a game that hangs has the real ones.
TROUBLED = """
import sys, threading, time
from ppo import checkpoint, train
from ppo.system import signals
from ppo.settings import Params
from ppo.drill import __main__ as drill
from ppo.drill import broken_envs

signals.GRACE_SECONDS, signals.DEADLINE_SECONDS = 1.0, 4.0
step = broken_envs.StuckCartPole.step

def telling(env, action):
    if env.steps_so_far == broken_envs.BROKEN_AT_STEP - 1:
        print("hangs", flush=True)
    return step(env, action)

broken_envs.StuckCartPole.step = telling
written = checkpoint.write_whole

def write_whole(path, content):
    if threading.current_thread() is not threading.main_thread():
        TROUBLE
    written(path, content)

checkpoint.write_whole = write_whole
stuck = {"env_id": "ppo.drill.broken_envs:StuckCartPole-v0", "checkpoint_interval": 10**6}
train.run(Params(**drill.SHORT_CART_POLE | stuck), sys.argv[1])
"""
TROUBLES = {
    "raise OSError('no space left')": "could not be saved: no space left",
    "time.sleep(3600)": "could not be saved in time",
}
PIPED = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


@contextmanager
def hanging(script: str, logdir: Path) -> Iterator[subprocess.Popen]:
    """A program that has said that it hangs."""
    with subprocess.Popen([sys.executable, "-c", script, str(logdir)], **PIPED) as process:
        try:
            assert any("hangs" in line for line in process.stdout)
            yield process
        finally:  # else a test that fails waits for it
            process.kill()


def stopped(process: subprocess.Popen) -> tuple[str, float]:
    """Ask a process to stop: what it said, and the seconds that it took."""
    asked = time.monotonic()
    process.terminate()
    output, _ = process.communicate(timeout=30)
    return output, time.monotonic() - asked


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_last_resort_that_fails_or_hangs_ends_the_run_within_ten_seconds(trouble, tmp_path):
    with hanging(TROUBLED.replace("TROUBLE", trouble), tmp_path) as process:
        output, seconds = stopped(process)
    assert process.returncode == 1
    assert seconds < 10
    assert TROUBLES[trouble] in output


# The main thread hangs in a save, which it had begun when the stop was asked for.
HANGS_IN_A_SAVE = """
import sys, time
from ppo import checkpoint, train
from ppo.system import signals
from ppo.settings import Params
from ppo.drill import __main__ as drill

signals.GRACE_SECONDS, signals.DEADLINE_SECONDS = 1.0, 4.0
written = checkpoint.write_whole

def write_whole(path, content):
    if "step-000000000512" in path.name:
        print("hangs", flush=True)
        time.sleep(3600)
    written(path, content)

checkpoint.write_whole = write_whole
train.run(Params(**drill.SHORT_CART_POLE), sys.argv[1])
"""


def test_a_save_that_hangs_does_not_hold_up_a_stop(tmp_path):
    with hanging(HANGS_IN_A_SAVE, tmp_path) as process:
        output, seconds = stopped(process)
    assert process.returncode == 1
    assert seconds < 10
    assert "the disk does not answer" in output
    assert checkpoint.newest(RunFolder(tmp_path)).step == 256


def test_a_resume_of_a_finished_run_removes_the_checkpoints_that_a_kill_left_over(
    cart_pole, tmp_path
):
    logdir = shutil.copytree(cart_pole, tmp_path / "run")
    folder, before = RunFolder(logdir), names(logdir)
    saved = checkpoint.newest(folder)
    for step in (256, 512):
        left = folder.checkpoints / f"step-{step:012d}.ckpt"
        left.write_bytes(checkpoint.encode(replace(saved, step=step)))
    assert names(logdir) != before
    code, output = drill.run(logdir, None)
    assert code == 0 and "the run is done" in output
    assert names(logdir) == before


# --- a folder that is taken away while its run trains, and has another run in its place


@contextmanager
def halted(logdir: Path, settings: dict) -> Iterator[Forked]:
    """A run that has written a log entry and is halted until the context ends."""
    process = drill.start(logdir, settings)
    wait_until(lambda: progress.numbers(logdir))
    process.send_signal(signal.SIGSTOP)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)


def names(folder: Path) -> set[str]:
    """Every file of a run, without the time in the names of event files."""
    return {re.sub(r"tfevents.*", "tfevents", name) for name in drill.snapshot(folder)}


def test_two_runs_end_as_if_alone_where_one_was_moved_and_the_other_has_its_place(tmp_path):
    logdir, moved = tmp_path / "run", tmp_path / "moved"
    with halted(logdir, drill.SHORT_PONG) as first:
        logdir.rename(moved)
        second = drill.start(logdir, drill.SHORT_PONG)
    for process, folder in ((first, moved), (second, logdir)):
        output, _ = process.communicate()
        assert process.returncode == 0, output
        assert re.search(rf"folder +{folder}\n", output)
        assert "/proc/" not in output and (f"continues in {moved}" in output) == (folder == moved)
    assert drill.fingerprint(moved) == drill.fingerprint(logdir)
    assert names(moved) == names(logdir)


def turned(link: Path) -> None:
    """Let a link to a run's folder lead to another one."""
    link.unlink()
    link.symlink_to("elsewhere")
    link.with_name("elsewhere").mkdir()


def test_a_run_leaves_the_folder_alone_to_which_its_link_was_turned(cart_pole, tmp_path):
    link, place = tmp_path / "run", tmp_path / "place"
    place.mkdir()
    link.symlink_to(place)
    with halted(link, drill.SHORT_CART_POLE) as first:
        turned(link)
        assert drill.run(link, drill.SHORT_CART_POLE)[0] == 0
        before = drill.snapshot(link)
    output, _ = first.communicate()
    assert first.returncode == 0 and f"{link} was moved; the run continues in {place}" in output
    assert drill.snapshot(link) == before
    assert drill.fingerprint(place) == drill.fingerprint(link) == drill.fingerprint(cart_pole)


@pytest.mark.parametrize("emptied", [False, True])
def test_a_run_whose_folder_was_removed_ends_with_one_message(cart_pole, emptied, tmp_path):
    logdir = tmp_path / "run"
    with halted(logdir, drill.SHORT_CART_POLE | {"total_steps": 10**6}) as first:
        if emptied:
            subprocess.run(["find", logdir, "-mindepth", "1", "-delete"], check=True)
        else:
            shutil.rmtree(logdir)
            assert drill.run(logdir, drill.SHORT_CART_POLE)[0] == 0
    output, _ = first.communicate()
    assert first.returncode == 1
    last = output.splitlines()[-1]
    assert last == f"{logdir} was moved or removed; nothing more is saved"
    assert output.count(str(logdir)) == 1 and "Traceback" not in output
    if not emptied:
        assert drill.fingerprint(logdir) == drill.fingerprint(cart_pole)
        assert names(logdir) == names(cart_pole)


# Whoever reads its output has stopped reading, and the main thread waits for a line to be taken.
HALTED = """
import os, sys
from ppo import train
from ppo.system import signals
from ppo.runs import terminal
from ppo.runs.terminal import Display
from ppo.settings import Params
from ppo.drill import __main__ as drill

signals.GRACE_SECONDS, signals.DEADLINE_SECONDS = 1.0, 4.0
terminal.LINE_SECONDS = 0.0
say = Display.say

def to_a_full_pipe(display, message):
    if " step 512 " in f" {message}":
        print("hangs", file=sys.stderr, flush=True)
        os.set_blocking(1, False)
        try:
            while True:
                os.write(1, bytes(1))
        except BlockingIOError:
            os.set_blocking(1, True)
    say(display, message)

Display.say = to_a_full_pipe
train.run(Params(**drill.SHORT_CART_POLE), sys.argv[1])
"""


def test_a_stop_while_the_output_takes_nothing_is_a_stop(tmp_path):
    command, piped = [sys.executable, "-c", HALTED, str(tmp_path)], subprocess.PIPE
    with subprocess.Popen(command, stdout=piped, stderr=piped, text=True) as process:
        try:
            assert any("hangs" in line for line in process.stderr)
            process.terminate()
            assert process.wait(30) == ExitCode.STOPPED
            assert "could not be saved" not in process.stderr.read()
        finally:
            process.kill()
    assert checkpoint.newest(RunFolder(tmp_path)).step == 512


# A Python program that trains, without having started TensorFlow in any way.
FROM_PYTHON = """
import json, sys
from ppo import train
from ppo.settings import Params
train.run(Params(**json.loads(sys.argv[2])), sys.argv[1])
"""


def test_a_run_from_python_has_the_bits_of_the_command(tmp_path):
    settings = drill.SHORT_PONG | {"total_steps": 256, "threads": 2, "video_interval": 0}
    assert drill.run(tmp_path / "command", settings)[0] == 0
    line = [sys.executable, "-c", FROM_PYTHON, str(tmp_path / "python"), json.dumps(settings)]
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "KERAS_"))}
    subprocess.run(line, check=True, env=bare, stdout=subprocess.DEVNULL)
    assert drill.fingerprint(tmp_path / "python") == drill.fingerprint(tmp_path / "command")


def test_videos_that_a_stop_left_out_are_made_by_a_resume_of_the_finished_run(tmp_path):
    logdir = tmp_path / "run"
    assert drill.run(logdir, drill.SHORT_PONG | {"total_steps": 576})[0] == 0
    videos = sorted(path.name for path in (logdir / "videos").iterdir())
    assert videos
    shutil.rmtree(logdir / "videos")
    code, output = drill.run(logdir, None)
    assert code == 0 and "the run is done" in output
    assert sorted(path.name for path in (logdir / "videos").iterdir()) == videos


# As the emulators of many envs are built, which takes long and lets no other thread run.
def test_a_stop_while_many_games_are_built_takes_no_more_than_ten_seconds(tmp_path):
    settings = drill.SHORT_PONG | {"num_envs": 512, "num_steps": 2}
    with drill.start(tmp_path / "run", settings) as process:
        while not (tmp_path / "run" / "params.json").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(0.5)
        asked = time.monotonic()
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 3
    assert time.monotonic() - asked < 10


class EndsTheProcess(CartPoleEnv):
    def step(self, action):
        sys.exit(0)


def test_an_environment_that_ends_the_process_does_not_look_like_a_finished_run(tmp_path):
    gymnasium.register("EndsTheProcess-v0", EndsTheProcess)
    settings = Params(**drill.SHORT_CART_POLE | {"env_id": "EndsTheProcess-v0"})
    with pytest.raises(RuntimeError, match="tried to end the process"):
        train.run(settings, tmp_path / "run")


def test_observations_that_are_nan_end_with_four_and_what_was_saved_stays(tmp_path):
    settings = drill.SHORT_CART_POLE | {"env_id": "tests.failing_envs:BlindCartPole-v0"}
    code, output = drill.run(tmp_path / "run", settings)
    assert code == 4, output
    assert "Traceback" not in output
    weights = checkpoint.load_weights(tmp_path / "run")
    assert all(np.isfinite(array).all() for array in weights)


def test_an_evaluation_of_weights_that_are_nan_ends_with_four(cart_pole, tmp_path):
    logdir = shutil.copytree(cart_pole, tmp_path / "run")
    folder = RunFolder(logdir)
    saved = checkpoint.newest(folder)
    arrays = {
        name: np.full_like(array, np.nan) if name.startswith("weights") else array
        for name, array in saved.arrays.items()
    }
    checkpoint.save(folder, replace(saved, arrays=arrays), kept=1)
    with Forked([f"--logdir={logdir}", "--evaluate", "1"]) as process:
        _, errors = process.communicate()
    assert process.returncode == 4
    assert "not finite" in errors and "Traceback" not in errors
