"""The copy of a run at Weights & Biases, whose place a module of the same name takes."""

import csv
import importlib
import sys
from pathlib import Path

import pytest

from ppo import checkpoint, train
from ppo.files.folder import RunFolder
from ppo.params import ParamsError
from ppo.runs.start import for_fork
from ppo.runs.tracker import Tracker
from ppo.runs.videographer import TAG
from ppo.settings import Params

STAND_IN = """
inits, logged, finished = [], [], []

class Settings:
    def __init__(self, **given):
        self.given = given

class Video:
    def __init__(self, path, caption, format):
        with open(path, "rb") as file:
            self.content = file.read()
        self.caption = caption

class Run:
    offline, dir = True, "offline-run"

    def log(self, data, step=None):
        logged.append((step, data))

    def finish(self):
        finished.append(len(logged))

def init(**given):
    inits.append(given)
    return Run()
"""
SETTINGS = {
    "network": "a3c",
    "precision": "float32",
    "num_envs": 2,
    "num_steps": 16,
    "num_minibatches": 1,
    "num_epochs": 1,
    "seed": 1,
    "threads": 1,
    "max_frames_per_game": 40,
    "log_interval": 32,
    "video_interval": 32,
    "wandb_project": "games",
}


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "wandb.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    yield importlib.import_module("wandb")
    sys.modules.pop("wandb")


def test_settings_scalars_and_videos_are_copied_and_a_resume_continues_the_copy(
    tmp_path, wandb, capsys
):
    run = tmp_path / "run"
    train.run(Params(total_steps=64, **SETTINGS), run)
    train.resume(run, ["total_steps=96"])
    first, second = wandb.inits
    assert (first["project"], first["name"], first["dir"]) == ("games", "run", str(run))
    assert first["config"]["num_envs"] == 2 and first["resume"] == "allow"
    assert first["id"] == second["id"] and second["config"]["total_steps"] == 96
    with open(run / "progress.csv", newline="") as file:
        rows = [
            {key: float(text) for key, text in row.items() if text} for row in csv.DictReader(file)
        ]
    entries = [{"step": step, **data} for step, data in wandb.logged if step is not None]
    assert entries == rows and len(rows) == 3
    videos = [data[TAG] for step, data in wandb.logged if step is None]
    kept = {path.read_bytes() for path in (run / "videos").glob("step-*.mp4")}
    assert {video.content for video in videos} == kept and len(kept) > 1
    assert len(wandb.finished) == 2 and wandb.finished[-1] == len(wandb.logged)
    assert "Weights & Biases: offline-run" in capsys.readouterr().out
    saved = checkpoint.newest(RunFolder(run))
    assert saved.parts["wandb"] == {"id": first["id"]}
    assert for_fork(saved).parts["wandb"] == {"id": None}


def tracker(said: list[str], **changes: object) -> Tracker:
    params = Params(**SETTINGS | changes).resolved(1, 1, 0.0, "float32")
    return Tracker(params, RunFolder(Path("run")), said.append)


def test_an_error_is_reported_once_and_ends_the_copy(wandb, monkeypatch):
    said: list[str] = []
    copy = tracker(said)
    copy.open()
    monkeypatch.setattr(wandb.Run, "log", lambda *_, **__: 1 / 0)
    copy.scalars(32, {"a": 1.0})
    copy.scalars(64, {"a": 1.0})
    copy.close()
    assert said == [
        "Weights & Biases: offline-run",
        "Weights & Biases gets nothing more of this run: division by zero",
    ]
    assert wandb.finished == []


def test_a_run_that_does_not_ask_for_a_copy_has_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # its import would fail
    said: list[str] = []
    copy = tracker(said, wandb_project=None)
    copy.open()
    copy.scalars(32, {"a": 1.0})
    copy.close()
    assert said == [] and copy.state().id is None


def test_a_copy_without_the_package_is_refused_before_anything_is_created(tmp_path, monkeypatch):
    monkeypatch.setattr("ppo.train.find_spec", lambda _: None)
    with pytest.raises(ParamsError, match="pip install wandb"):
        train.run(Params(**SETTINGS), tmp_path / "run")
    assert not (tmp_path / "run").exists()
