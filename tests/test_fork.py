"""A new run from another's checkpoint, with nothing changed and with one thing changed."""

import json
import shutil
import sys

import numpy as np
import pytest

from ppo import checkpoint, train
from ppo.checkpoint import CheckpointError
from ppo.drill import __main__ as drill
from ppo.evaluate.agent import settings_of
from ppo.files import origin
from ppo.files.folder import FolderError, RunFolder
from ppo.params import ParamsError, load
from ppo.runs.session import Session
from ppo.runs.start import run_of
from ppo.settings import Params
from ppo.telemetry import progress

SETTINGS = drill.SHORT_CART_POLE | {
    "total_steps": 1536,
    "checkpoint_interval": 256,
    "keep_checkpoints_from": 768,
    "keep_checkpoints_to": 1024,
    "checkpoints_kept": 1,
    "threads": 2,
    "value_rescaling": "smoothed",
    "log_interval": 512,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    logdir = tmp_path_factory.mktemp("origin") / "run"
    train.run(Params(**SETTINGS), logdir)
    return logdir


CONSTANT = ["learning_rate_schedule=constant", "clip_range_schedule=constant"]


@pytest.fixture(scope="module")
def constant(run):
    """A fork whose schedules do not depend on its end."""
    train.fork(run, run.with_name("constant"), CONSTANT, step=768)
    return run.with_name("constant")


def steps_after(logdir, step: int) -> list[dict[str, float]]:
    """The log entries from a step on, without what is of time."""
    return [
        {k: v for k, v in row.items() if not k.startswith(("time/", "system/"))}
        for row in progress.numbers(logdir)
        if row["step"] > step
    ]


def arrays(logdir) -> dict[str, bytes]:
    newest = checkpoint.newest(RunFolder(logdir))
    return {name: array.tobytes() for name, array in newest.arrays.items()}


def test_every_checkpoint_between_two_steps_is_kept(run):
    assert checkpoint.steps(RunFolder(run)) == [1536, 1024, 768]


def test_a_fork_with_nothing_changed_is_the_same_run(run, tmp_path):
    train.fork(run, tmp_path / "fork", step=768)
    assert arrays(tmp_path / "fork") == arrays(run)
    assert steps_after(tmp_path / "fork", 0) == steps_after(run, 768)
    ours, theirs = (checkpoint.newest(RunFolder(d)).trainer for d in (tmp_path / "fork", run))
    assert ours == theirs


def test_a_fork_of_a_fork_is_the_same_run(run, tmp_path):
    train.fork(run, tmp_path / "one", step=768)
    train.fork(tmp_path / "one", tmp_path / "two", step=1024)
    assert arrays(tmp_path / "two") == arrays(run)


def test_a_fork_can_be_resumed(run, constant, tmp_path):
    train.fork(run, tmp_path / "parts", [*CONSTANT, "total_steps=1024"], step=768)
    start = RunFolder(tmp_path / "parts").fork_start
    start.touch()  # as if a kill had left it
    train.resume(tmp_path / "parts", ["total_steps=1536"])
    assert arrays(constant) == arrays(tmp_path / "parts")
    assert not start.exists()


def test_a_resume_keeps_the_best_of_before_unless_it_is_surpassed(run, tmp_path):
    folder = RunFolder(shutil.copytree(run, tmp_path / "run"))
    saved = checkpoint.newest(folder)
    better = run_of(saved).model_copy(update={"best_saved": 1e9})
    checkpoint.save(folder, saved.with_part("run", better), kept=1)
    best = (folder.checkpoints / checkpoint.BEST).read_bytes()
    train.resume(folder.path, ["total_steps=2048"])
    assert checkpoint.newest(folder).step == 2048
    assert (folder.checkpoints / checkpoint.BEST).read_bytes() == best


def test_a_resume_records_its_changes_and_says_what_the_log_lacks(run, tmp_path, capsys):
    train.fork(run, tmp_path / "fork", [*CONSTANT, "total_steps=1024"], step=768)
    train.resume(tmp_path / "fork", ["total_steps=1536", "log_epochs=true"])
    said = capsys.readouterr().out
    assert "keeps its columns and lacks 24 new scalars, such as epochs/" in said
    assert said.count("training begins; its first numbers come by step 1,024\n") == 1
    assert said.count("training begins; its first numbers come by step 1,536\n") == 1
    changed = run_of(checkpoint.newest(RunFolder(tmp_path / "fork"))).changed
    assert sorted(changed) == [(1024, "log_epochs", False), (1024, "total_steps", 1024)]


def test_a_run_that_began_while_another_was_starting_is_left_alone(tmp_path, monkeypatch):
    def start_tensorflow(threads, workers):
        (tmp_path / "run" / "checkpoints").mkdir(parents=True)
        (tmp_path / "run" / "checkpoints" / "step-000000000000.ckpt").touch()
        (tmp_path / "run" / "params.json").write_text("of another")
        (tmp_path / "run" / "progress.csv").write_text("step\n")

    monkeypatch.setattr(train, "start_tensorflow", start_tensorflow)
    with pytest.raises(FolderError, match="holds a run"):
        train.run(Params(**SETTINGS), tmp_path / "run")
    assert (tmp_path / "run" / "params.json").read_text() == "of another"


def test_a_fork_that_a_full_disk_prevents_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(origin, "write", full)
    with pytest.raises(OSError, match="No space"):
        train.fork(run, tmp_path / "fork", step=768)
    assert not [*(tmp_path / "fork").iterdir()]


def test_a_fork_that_was_stopped_before_it_saved_anything_begins_again(
    run, constant, tmp_path, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(Session, "_begin", lambda _: sys.exit())
        with pytest.raises(SystemExit):
            train.fork(run, tmp_path / "killed", CONSTANT, step=768)
    assert not (tmp_path / "killed" / "checkpoints").exists()
    (tmp_path / "killed" / "params.json").unlink()  # as if that had been written next
    with monkeypatch.context() as patched:
        patched.setattr(Session, "_begin", lambda _: sys.exit())
        with pytest.raises(SystemExit):
            train.fork(run, tmp_path / "killed", CONSTANT, step=768)
    before = (tmp_path / "killed" / "params.json").read_text()
    with pytest.raises(ParamsError):
        train.resume(tmp_path / "killed", ["network=nature", "gamma=0.5"])
    assert (tmp_path / "killed" / "params.json").read_text() == before
    with monkeypatch.context() as patched:  # the origin no longer has the checkpoint
        patched.setattr(checkpoint, "chosen", lambda *_: pytest.fail("not from the origin"))
        train.resume(tmp_path / "killed")
    assert arrays(tmp_path / "killed") == arrays(constant)
    assert not RunFolder(tmp_path / "killed").fork_start.exists()


def test_where_the_value_gradient_goes_may_change_unless_a_network_of_its_own_is_for_it(
    run, tmp_path
):
    train.fork(run, tmp_path / "fork", ["value_gradient=detached"], step=768)
    assert checkpoint.newest(RunFolder(tmp_path / "fork")).step == 1536
    refusal = "value_gradient = 'separate'.* a {} cannot change; start a new run for it"
    with pytest.raises(ParamsError, match=refusal.format("fork")):
        train.fork(run, tmp_path / "new", ["value_gradient=separate"])
    with pytest.raises(ParamsError, match=refusal.format("resume")):
        train.resume(run, ["value_gradient=separate"])
    with pytest.raises(ParamsError, match="a resume cannot change; a --fork of the run can"):
        train.resume(run, ["value_gradient=detached"])


@pytest.mark.parametrize(
    "change",
    ["seed=6", "learning_rate=1e-3", "num_epochs=1", "num_steps=16", "num_envs=4", "num_envs=12"],
)
def test_one_change_makes_another_run_that_ends_at_the_same_step(change, run, tmp_path):
    train.fork(run, tmp_path / "fork", [change], step=768)
    newest = checkpoint.newest(RunFolder(tmp_path / "fork"))
    assert newest.step == 1536
    assert len(newest.trainer.unfinished) == (int(change[9:]) if "num_envs" in change else 8)
    assert arrays(tmp_path / "fork")["weights/0"] != arrays(run)["weights/0"]
    origin = json.loads((tmp_path / "fork" / "origin.json").read_text())
    assert (origin["run"], origin["step"]) == (str(run), 768)
    assert list(origin["changes"]) == [change.split("=")[0]]


def test_a_fork_begins_with_the_weights_and_the_optimiser_of_its_origin(run, tmp_path):
    train.fork(run, tmp_path / "fork", ["total_steps=1024", "seed=9"], step=768)
    first = checkpoint.chosen(RunFolder(tmp_path / "fork"), 768)
    origin = checkpoint.chosen(RunFolder(run), 768)
    for name, array in origin.arrays.items():
        np.testing.assert_array_equal(first.arrays[name], array)


def test_new_games_begin_where_their_rules_change(run, tmp_path):
    train.fork(run, tmp_path / "fork", ["max_frames_per_game=50", "total_steps=1024"], step=768)
    unfinished = checkpoint.chosen(RunFolder(tmp_path / "fork"), 768).trainer.unfinished
    assert all(episode.seeds_used == 1 for episode in unfinished)


def test_what_a_fork_cannot_be_of_is_refused_before_anything_is_created(run, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint of step 512"):
        train.fork(run, tmp_path / "new", step=512)
    for change in ("network_width=2", "layer_norm=true"):
        with pytest.raises(ParamsError, match=rf"{change.split('=')[0]}.*fork cannot change"):
            train.fork(run, tmp_path / "fork", [change])
    with pytest.raises(ParamsError, match=r"env_id.*fork cannot change"):
        train.fork(run, tmp_path / "new", ["env_id=Acrobot-v1"])
    with pytest.raises(FolderError, match="holds no run"):
        train.fork(tmp_path / "nowhere", tmp_path / "new")
    with pytest.raises(FolderError, match="holds a run"):
        train.fork(run, run)
    with pytest.raises(ParamsError, match=r"workers = 4: .* --workers=4"):
        train.fork(run, tmp_path / "four", ["workers=4"])
    assert list(tmp_path.iterdir()) == []


def test_a_run_from_before_there_was_a_precision_continues_in_float32(
    tmp_path, computes_in_bfloat16
):
    pictures = {"env_id": "tests.pixel_game:Catch-v0", "network": "a3c", "num_envs": 2}
    small = pictures | {"num_steps": 16, "num_minibatches": 1, "total_steps": 32, "threads": 1}
    run, fork = tmp_path / "run", tmp_path / "fork"
    train.run(Params(**small | {"precision": "float32"}), run)
    settings = json.loads((run / "params.json").read_text())
    del settings["precision"]
    (run / "params.json").write_text(json.dumps(settings))
    assert settings_of(RunFolder(run)).precision == "float32"
    train.fork(run, fork, ["total_steps=64"])
    train.resume(run, ["total_steps=64"])
    assert load(run / "params.json").precision == load(fork / "params.json").precision == "float32"


def test_a_run_of_another_machine_says_that_its_precision_is_emulated(
    tmp_path, monkeypatch, capsys
):
    cart = {"env_id": "CartPole-v1", "network": "mlp", "num_envs": 2, "num_minibatches": 1}
    small = cart | {"num_steps": 16, "total_steps": 32, "threads": 1, "precision": "bfloat16"}
    monkeypatch.setattr("ppo.system.device.processor_has_bfloat16", lambda: True)
    train.run(Params(**small), tmp_path / "run")
    assert "emulates" not in capsys.readouterr().out
    monkeypatch.setattr("ppo.system.device.processor_has_bfloat16", lambda: False)
    monkeypatch.setattr("ppo.system.device.has_gpu_driver", lambda: False)
    train.resume(tmp_path / "run", ["total_steps=64"])
    assert "emulates bfloat16" in capsys.readouterr().out
    train.fork(tmp_path / "run", tmp_path / "fork", ["total_steps=96", "precision=float32"])
    assert "emulates" not in capsys.readouterr().out


# --- the guard of a fork

CHOICE = {
    "env_id": "tests.choice_game:Choice-v0",
    "network": "mlp",
    "num_envs": 8,
    "num_steps": 32,
    "num_minibatches": 4,
    "learning_rate": 5e-3,
    "learning_rate_schedule": "constant",
    "total_steps": 5120,
    "checkpoint_interval": 5120,
    "log_interval": 256,
    "diagnostics_interval": 0,
    "threads": 1,
    "seed": 1,
}
RUINED = ["entropy_coef=100", "total_steps=7680"]  # the policy soon plays at random


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    logdir = tmp_path_factory.mktemp("learnt") / "run"
    train.run(Params(**CHOICE | {"collapse_guard": "off"}), logdir)
    return logdir


def rollbacks(logdir) -> list[int]:
    """The number of rollbacks so far, in each entry of the log."""
    return [int(row["train/rollbacks"]) for row in progress.numbers(logdir)]


@pytest.fixture(scope="module")
def put_back(learnt, tmp_path_factory):
    """A fork that falls in its first updates, guarded."""
    logdir = tmp_path_factory.mktemp("fallen") / "fork"
    train.fork(learnt, logdir, [*RUINED, "collapse_guard=rollback"])
    return logdir


def test_a_fork_that_collapses_in_its_first_updates_is_restored(learnt, put_back, tmp_path):
    assert rollbacks(put_back)[-1] == 1
    (tmp_path / "parts").mkdir()
    train.fork(learnt, tmp_path / "parts", [*RUINED, "collapse_guard=rollback", "total_steps=5888"])
    train.resume(tmp_path / "parts", ["total_steps=7680"])
    assert arrays(tmp_path / "parts") == arrays(put_back)


@pytest.mark.parametrize("change", ["num_steps=16", "max_frames_per_game=16"])
def test_so_is_a_fork_with_other_rollouts_or_rules(change, learnt, tmp_path, capsys):
    train.fork(learnt, tmp_path / "fork", [*RUINED, "collapse_guard=rollback", change])
    assert rollbacks(tmp_path / "fork")[-1] >= 1
    before, after = (progress.numbers(run) for run in (learnt, tmp_path / "fork"))
    counted_anew = after[0]["rollout/games"] < before[-1]["rollout/games"]
    assert counted_anew == change.startswith("max_frames")
    played = "begins at 1 points a step, measured in 10 games" in capsys.readouterr().out
    assert played == change.startswith("max_frames")


def test_so_is_a_fork_of_a_fork_and_of_a_run_without_a_log(learnt, tmp_path):
    train.fork(learnt, tmp_path / "one", ["gamma=0.9", "total_steps=5376"])
    (tmp_path / "one" / "progress.csv").unlink(missing_ok=True)
    (tmp_path / "one" / "origin.json").unlink()
    ruined = [*RUINED, "collapse_guard=rollback"]
    train.fork(tmp_path / "one", tmp_path / "two", ruined, step=5120)
    assert rollbacks(tmp_path / "two")[-1] == 1


def test_a_fork_that_only_warns_says_that_it_collapses(learnt, tmp_path, capsys):
    train.fork(learnt, tmp_path / "fork", [*RUINED, "collapse_guard=warn"])
    assert "the policy has collapsed, from" in capsys.readouterr().out


def test_a_run_that_is_watched_only_from_a_resume_on_knows_its_level(learnt, tmp_path):
    run = shutil.copytree(learnt, tmp_path / "run")
    train.resume(run, [*RUINED, "collapse_guard=rollback"])
    assert rollbacks(run)[-1] == 1


def test_a_fork_with_another_learning_rate_has_all_of_it(put_back, tmp_path):
    for change, expected in (("gamma=0.9", 5e-3 / 8), ("learning_rate=1e-3", 1e-3)):
        new = tmp_path / change
        train.fork(put_back, new, [change, "total_steps=7936"])
        assert progress.numbers(new)[-1]["train/learning_rate"] == pytest.approx(expected)
