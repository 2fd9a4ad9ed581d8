"""Videos of a trained run, with its own network."""

import importlib
import shutil
import time
from pathlib import Path

import imageio_ffmpeg
import pytest

import run_atari
from ppo import train
from ppo.drill import __main__ as drill
from ppo.errors import ExitCode
from ppo.evaluate.watch import watch_run
from ppo.files.folder import FolderError
from ppo.replay.replay import load
from ppo.settings import Params
from tests.forked import Forked
from tests.pixel_game import SIZE

PONG = Path(__file__).parents[1] / "pretrained" / "pong"
CATCH = Params(
    env_id="tests.pixel_game:Catch-v0",
    network="a3c",
    num_envs=2,
    num_steps=16,
    num_minibatches=1,
    total_steps=32,
    seed=3,
    threads=1,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    logdir = tmp_path_factory.mktemp("catch") / "run"
    train.run(CATCH, logdir)
    return logdir


def test_any_environment_that_renders_is_watched(run, capsys):
    made = watch_run(run, 2, seed=5, gif_seconds=1)
    said = capsys.readouterr().out
    assert said.startswith("playing 2 games of the sampled policy of step 32\nmaking a video\n")
    first, picture, second, _ = made
    assert [path for path in made if str(path) not in said] == []
    kept = load(run / "replays" / f"{first.stem}.json", CATCH.env_id)
    assert first.stem.endswith(f"-game-001-score_{kept.score:g}")
    assert imageio_ffmpeg.count_frames_and_secs(str(first))[0] == kept.frames + 10
    meta = next(imageio_ffmpeg.read_frames(str(second)))
    assert meta["size"] == (840 // SIZE * SIZE + 720, 840) and meta["fps"] == 5
    assert picture == first.with_suffix(".gif") and picture.read_bytes().startswith(b"GIF89a")
    assert next(imageio_ffmpeg.read_frames(str(picture)))["duration"] == pytest.approx(1, abs=0.2)


def test_the_image_alone_on_request(run):
    (path,) = watch_run(run, 1, seed=5, plain=True)
    assert next(imageio_ffmpeg.read_frames(str(path)))["size"] == (840, 840)


def test_an_environment_that_cannot_render_is_refused_before_anything_is_made(run, monkeypatch):
    monkeypatch.setattr("tests.pixel_game.Catch.render", lambda self: None)
    before = sorted(run.rglob("*"))
    with pytest.raises(FolderError, match=r"Catch-v0 cannot be shown.*gave no image"):
        watch_run(run, 1)
    assert sorted(run.rglob("*")) == before


# What is made beside a run, the function after which the run's folder is moved, and where it is.
BESIDE = {
    "--evaluate=2": ("ppo.evaluate.games.evaluate_each", "evaluations.jsonl"),
    "--watch=1": ("ppo.evaluate.games.evaluate_each", "videos"),
    "--export=RUN/agent.keras": ("ppo.evaluate.export.load", "agent.keras"),
    "--report": ("ppo.report.report.read_summary", "report.html"),
}


@pytest.mark.parametrize("argument", BESIDE)
def test_what_is_made_beside_a_run_goes_with_its_folder(
    run, argument, tmp_path, monkeypatch, capsys
):
    logdir, moved = shutil.copytree(run, tmp_path / "run"), tmp_path / "moved"
    function, made = BESIDE[argument]
    module, _, name = function.rpartition(".")
    original = getattr(importlib.import_module(module), name)

    def then_move(*given, **named):
        result = original(*given, **named)
        if not moved.exists():
            logdir.rename(moved)
            shutil.copytree(run, logdir)
        return result

    monkeypatch.setattr(function, then_move)
    code = run_atari.main([f"--logdir={logdir}", argument.replace("RUN", str(logdir))])
    said = capsys.readouterr()
    assert code == (ExitCode.FAILED if argument == "--report" else ExitCode.DONE), said.err
    assert drill.snapshot(logdir) == drill.snapshot(run)
    assert (moved / made).exists()
    assert "/proc/" not in said.out + said.err


def test_watching_shows_its_progress_and_a_stop_leaves_no_part_of_a_video(tmp_path):
    logdir = tmp_path / "run"
    shutil.copytree(PONG, logdir)
    videos = logdir / "videos"
    with Forked([f"--logdir={logdir}", "--watch", "--seed=1"], tmp_path) as watching:
        while not (videos.is_dir() and any(videos.iterdir())):
            assert watching.poll() is None
            time.sleep(0.05)
        watching.terminate()
        out, err = watching.communicate()
    assert watching.returncode == ExitCode.FAILED and "interrupted" in err
    assert out.splitlines()[0] == "playing 1 game of the sampled policy of step 2,000,896"
    assert out.splitlines()[1].startswith("making a video")
    assert not any(videos.iterdir()) and len([*(logdir / "replays").iterdir()]) == 1
