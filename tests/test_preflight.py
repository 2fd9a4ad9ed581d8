"""The preflight: what is drawn, what is measured of a real run, and that nothing is left of it."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import run_atari
from ppo.envs.registry import resolved
from ppo.errors import ExitCode
from ppo.preflight import probe, sheet
from ppo.preflight.preflight import plan
from ppo.settings import Params
from tests.processes import none_left, processes_of, wait_until

ROOT = Path(__file__).resolve().parents[1]
CART = {
    "env_id": "CartPole-v1",
    "network": "mlp",
    "num_envs": 2,
    "num_steps": 16,
    "num_minibatches": 2,
    "seed": 1,
    "threads": 1,
    "total_steps": 3210,
    "evaluation_interval": 1000,
    "evaluation_games": 3,
}


def settings_file(folder: Path, settings: dict) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps(settings))
    return path


# --- the contact sheet


@pytest.mark.parametrize("env_id", ["PongNoFrameskip-v4", "ALE/Breakout-v5"])
def test_three_emulators_show_the_same_game(env_id):
    params = resolved(Params(env_id=env_id, seed=3))
    last = None
    for moment in itertools.islice(sheet.moments(params), 100):
        newest = moment.observation[..., -1]
        # Every later form follows from the one before it.
        scaled = cv2.resize(moment.grey, (84, 84), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(scaled, newest)
        if last is not None:
            np.testing.assert_array_equal(moment.observation[..., -2], last)
        last = newest.copy()
        brightest = np.maximum(*(frame.max(axis=-1) for frame in moment.frames[-2:]))
        assert ((brightest > 0) == (moment.grey > 0)).all()


def test_contact_sheet_shows_all_forms_side_by_side(tmp_path):
    params = resolved(Params(seed=3))
    sheet.draw(params, tmp_path / "sheet.png")
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "sheet.png")), cv2.COLOR_BGR2RGB)
    moments = list(itertools.islice(sheet.moments(params), max(sheet.SHOWN_STEPS)))
    first = moments[sheet.SHOWN_STEPS[0] - 1]
    top, left = 2 * sheet.HEAD, sheet.GAP
    console = picture[top : top + 420, left : left + 320]
    np.testing.assert_array_equal(console[::2, ::2], first.frames[-1])
    grey = picture[top : top + 420, left + 336 : left + 656]
    np.testing.assert_array_equal(grey[::2, ::2, 0], first.grey)
    assert (picture[:top].min(axis=(0, 2)) < 100).sum() > 200  # there are words


@pytest.mark.parametrize("stack", [1, 3])
def test_contact_sheet_of_another_stack_can_be_drawn(tmp_path, stack):
    sheet.draw(resolved(Params(seed=3, frame_stack=stack)), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


# --- the arithmetic


def test_plan_counts_steps_frames_updates_and_minibatches():
    params = Params(total_steps=10_000, num_envs=8, num_epochs=4, num_minibatches=4)
    text = "\n".join(plan(resolved(params)))
    assert "10,240 steps (10,000 rounded up to whole rollouts), 40,960 frames" in text
    assert "10 rollouts of 8 envs x 128 steps = 1,024 steps" in text
    assert "4 epochs x 4 minibatches of 1,024 / 4 = 256 steps: 16 gradient steps, 160 in" in text


def test_plan_names_a_precision_that_is_emulated(monkeypatch):
    monkeypatch.setattr("ppo.system.device.processor_has_bfloat16", lambda: False)
    monkeypatch.setattr("ppo.system.device.has_gpu_driver", lambda: False)
    rounded, plain = (
        plan(resolved(Params(**CART | {"precision": name}))) for name in ("bfloat16", "float32")
    )
    assert "emulates bfloat16" in rounded[-1]
    assert rounded[:-1] == plain


def test_outside_atari_frames_are_not_counted():
    params = resolved(Params(env_id="CartPole-v1", network="mlp", num_envs=8, total_steps=1024))
    assert plan(params)[1] == "1,024 steps"
    assert plan(params)[0].endswith("an environment outside Atari, observations 4")


# --- the command


def test_check_measures_a_real_run_and_leaves_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(probe, "SECONDS", 0.5)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    file = settings_file(tmp_path, CART)
    (tmp_path / "preflight.png").mkdir()  # outside Atari no PNG is written
    monkeypatch.chdir(tmp_path)
    assert run_atari.main(["--check", f"--pfile={file}"]) == ExitCode.DONE
    out = capfd.readouterr().out
    assert "3,232 steps (3,210 rounded up to whole rollouts)" in out
    assert out.count("\ncore ") == 13 and out.count("\nAtari ") == 2
    # 4 * 64 + 64, 64 * 64 + 64, heads of 2 actions and 1 value
    assert f"{2 * (4 * 64 + 64 + 64 * 64 + 64) + 65 * 3:,} weights, 2 actions" in out
    assert "for 3 evaluations" in out
    assert "memory: " in out and "of checkpoints" in out
    assert "video" not in out
    assert {path.name for path in tmp_path.iterdir()} == {"settings.json", "tmp", "preflight.png"}
    assert not list((tmp_path / "tmp").iterdir())


def test_short_run_leaves_nothing_at_weights_and_biases():
    params = resolved(Params(**CART | {"wandb_project": "games"}))
    assert probe._short(params).wandb_project is None


def test_failed_run_is_reported_in_its_own_words(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(
        probe, "RUN_ATARI", [sys.executable, "-c", "import sys; sys.exit('no such luck')"]
    )
    file = settings_file(tmp_path, CART)
    assert run_atari.main(["--check", f"--pfile={file}"]) == ExitCode.FAILED
    assert "no such luck" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--check", "sheet.jpg", "--env=Pong"], "with .png at the end"),
        (["--check", "nowhere/sheet.png", "--env=Pong"], "there is no folder"),
        (["--check", "--pfile=settings.json", "--set", "num_envs=0"], "num_envs = 0: must be int"),
        (["--check", "--pfile=settings.json", "--set", "wandb_project=x"], "pip install wandb"),
    ],
)
def test_check_refuses_before_it_measures(tmp_path, monkeypatch, capfd, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ppo.train.find_spec", lambda _: None)
    settings_file(tmp_path, CART)
    assert run_atari.main(arguments) == ExitCode.REFUSED
    done = capfd.readouterr()
    assert message in done.err and not done.out
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_check_needs_settings(capfd):
    with pytest.raises(SystemExit):
        run_atari.main(["--check", "--describe-params"])
    assert "--check goes with --pfile" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["pfile", "env"])
def test_a_game_that_an_unset_variable_names_is_refused(tmp_path, capsys, name):
    with pytest.raises(SystemExit) as refused:
        run_atari.main([f"--logdir={tmp_path}", f"--{name}="])
    assert refused.value.code == 2
    assert f"--{name} is empty" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_check_that_is_stopped_or_killed_takes_its_run_along(tmp_path, how):
    file = settings_file(tmp_path, CART | {"total_steps": 10**7})
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, ROOT / "run_atari.py", "--check", f"--pfile={file}"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    with none_left(tmp_path):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: list(tmp_path.glob("tmp/ppo-check-*/run/.lock")))
        process.send_signal(how)
        said = process.communicate(timeout=60)[1]
        wait_until(lambda: not processes_of(tmp_path), 30)
    if how == signal.SIGKILL:
        return
    assert "interrupted" in said
    assert process.returncode == ExitCode.FAILED
    assert not list((tmp_path / "tmp").iterdir())
