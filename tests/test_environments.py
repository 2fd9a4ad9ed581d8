"""Runs of environments that fail, or that do not fit: how the command ends, and what it keeps."""

import json
import os
import re
import subprocess
import threading
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

import run_atari
from ppo import checkpoint, params, train
from ppo.files.folder import RunFolder
from ppo.params import ParamsError
from ppo.runs.start import run_of
from ppo.settings import Params
from ppo.system.children import RUN_ATARI
from tests.failing_envs import ERRORS, LATER, ONCE

ROOT = Path(__file__).parents[1]

CART = {
    "network": "mlp",
    "num_envs": 2,
    "num_steps": 16,
    "num_minibatches": 2,
    "num_epochs": 1,
    "seed": 1,
    "threads": 1,
    "total_steps": 256,
    "checkpoint_interval": 10**6,
}
# Whole iterations before an env makes its step LATER, in steps of the run.
REACHED = LATER // CART["num_steps"] * CART["num_steps"] * CART["num_envs"]


def failing(call: str, error: str) -> str:
    return f"tests.failing_envs:Failing-{call}-{error}-v0"


def command(logdir: Path, env_id: str | None, *more: str) -> int:
    if env_id is None:
        return run_atari.main([f"--logdir={logdir}", *more])
    settings = [f"--set={key}={value}" for key, value in CART.items()]
    return run_atari.main([f"--logdir={logdir}", f"--env={env_id}", *settings, *more])


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", ["construction", "reset", "step", "close"])
def test_a_run_whose_environment_fails_at_once_creates_nothing(call, error, tmp_path, capsys):
    assert command(tmp_path / "run", failing(call, error)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(failing(call, error)) and error in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("error", ["BrokenPipeError", "KeyboardInterrupt", "SystemExit"])
def test_what_a_run_reached_is_saved_when_its_environment_fails(error, tmp_path, capsys):
    logdir, env_id = tmp_path / "run", failing("later-step", error)
    assert command(logdir, env_id) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(env_id) and error in line
    assert line.endswith(f"Step {REACHED} is saved. Continue with --resume.")
    assert checkpoint.newest(RunFolder(logdir)).step == REACHED
    if error == "SystemExit":  # in a new process the environments count anew
        assert command(logdir, None, "--resume") == 0
        assert checkpoint.newest(RunFolder(logdir)).step == CART["total_steps"]
        assert command(logdir, None, "--evaluate", "99") == 1
        assert capsys.readouterr().err.startswith(f"{env_id} tried to end the process in its step")


def test_an_evaluation_whose_environment_fails_is_due_again(tmp_path, capsys):
    logdir, env_id = tmp_path / "run", failing("later-step", "OSError")
    more = "--set=evaluation_interval=64", "--set=evaluation_games=99"
    assert command(logdir, env_id, *more) == 1
    assert capsys.readouterr().err.startswith(env_id)
    saved = checkpoint.newest(RunFolder(logdir))
    assert saved.step == 64 and saved.parts["evaluation"]["due"]


def test_all_workers_end_when_an_environment_of_one_fails(tmp_path):
    logdir, env_id = tmp_path / "run", failing("later-step", "BrokenPipeError")
    settings = [f"--set={key}={value}" for key, value in (CART | {"total_steps": 1024}).items()]
    line = [*RUN_ATARI, f"--logdir={logdir}", f"--env={env_id}", *settings, "--workers=2"]
    once = {**os.environ, ONCE: str(tmp_path / "once")}
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, cwd=ROOT, env=once)
    assert done.returncode == 1, done
    assert done.stderr.count("Broken pipe") == 1 and "Traceback" not in done.stderr
    assert re.search(rf"worker [01]: {re.escape(env_id)} failed in its step", done.stderr)
    assert f"Step {2 * REACHED} is saved." in done.stderr
    assert checkpoint.newest(RunFolder(logdir)).step == 2 * REACHED


class FailsInItsFourthConstruction(CartPoleEnv):
    made = 0

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        type(self).made += 1
        if type(self).made > 3:  # the checks make the first three
            raise MemoryError("no room for a fourth")


def test_a_start_that_fails_late_leaves_a_folder_for_another_run(tmp_path):
    gymnasium.register("Fourth-v0", FailsInItsFourthConstruction)
    with pytest.raises(train.EnvironmentFailed, match="no room for a fourth"):
        train.run(Params(**CART, env_id="Fourth-v0"), tmp_path / "run")
    assert not (tmp_path / "run" / "params.json").exists()
    train.run(Params(**CART | {"total_steps": 32}, env_id="CartPole-v1"), tmp_path / "run")


def test_settings_that_do_not_fit_the_environment_are_refused_from_python_too(tmp_path):
    with pytest.raises(ParamsError, match="has vector observations"):
        train.run(Params(**CART | {"network": "a3c"}, env_id="CartPole-v1"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_runs_outside_the_main_thread(tmp_path):
    settings = Params(**CART, env_id="CartPole-v1")
    thread = threading.Thread(target=train.run, args=(settings, tmp_path / "run"))
    thread.start()
    thread.join()
    assert checkpoint.newest(RunFolder(tmp_path / "run")).step == CART["total_steps"]


# --- memory


class Large(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (64, 48, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((64, 48, 3), np.uint8), {}

    def step(self, action):
        return np.zeros((64, 48, 3), np.uint8), 0.0, False, False, {}


class LargeAndFlat(Large):
    observation_space = gymnasium.spaces.Box(0, 1, (10_000,), np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(10_000, np.float32), {}

    def step(self, action):
        return np.zeros(10_000, np.float32), 0.0, False, False, {}


@pytest.mark.parametrize(("kind", "network"), [(Large, "a3c"), (LargeAndFlat, "mlp")])
def test_a_rollout_that_does_not_fit_the_memory_is_refused(kind, network, tmp_path, capsys):
    gymnasium.register("Large-v0", kind)
    try:
        large = "--set=num_envs=1024", "--set=num_steps=65536", f"--set=network={network}"
        assert command(tmp_path / "run", "Large-v0", *large) == 2
    finally:
        del gymnasium.registry["Large-v0"]
    assert "observations of one rollout take" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# --- the size of rewards


class Tenths(CartPoleEnv):
    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, 0.1, *rest


@pytest.fixture
def tenths():
    gymnasium.register("Tenths-v0", Tenths, max_episode_steps=50)
    yield "Tenths-v0"
    del gymnasium.registry["Tenths-v0"]


def test_rewards_are_clipped_only_if_asked_and_a_run_says_so_once(tenths, tmp_path, capsys):
    for number, more in enumerate([[], ["--set=clip_rewards=true"]]):
        logdir = tmp_path / str(number)
        assert command(logdir, tenths, *more) == 0
        stored = params.load(logdir / "params.json")
        assert stored.clip_rewards == bool(more)
        assert capsys.readouterr().out.count("rewards other than -1, 0 and 1") == len(more)


def test_a_run_from_before_clips_as_it_did(tenths, tmp_path, capsys):
    logdir = tmp_path / "run"
    assert command(logdir, tenths, "--set=clip_rewards=true") == 0
    path = RunFolder(logdir).params
    stored = json.loads(path.read_text())
    del stored["clip_rewards"]
    path.write_text(json.dumps(stored))
    assert command(logdir, None, "--resume", "--set=total_steps=512") == 0
    assert "clip_rewards:" not in capsys.readouterr().out
    assert run_of(checkpoint.newest(RunFolder(logdir))).params["clip_rewards"] is True
