import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import imageio_ffmpeg
import pytest

from ppo import train
from ppo.drill.__main__ import SHORT_PONG
from ppo.files import ffmpeg
from ppo.files.video import VideoError
from ppo.replay.recorder import Recorder
from ppo.replay.replay import Replay
from ppo.settings import Params
from tests.processes import processes_of, wait_until
from tests.rules import played, rules_for

RULES = rules_for("pong", max_frames_per_game=42)


@pytest.fixture(scope="module")
def replay() -> Replay:
    return Replay.from_episode(played(RULES, action=2), RULES)


@pytest.fixture(scope="module")
def wrong(replay: Replay) -> Replay:
    return replay.model_copy(update={"score": 99.0})


@pytest.fixture(scope="module")
def long(replay: Replay) -> Replay:
    """More than 3,000 pictures: a video of it takes seconds."""
    return replay.model_copy(
        update={"actions": [0] * 10_000, "frames": 40_000, "max_frames_per_game": 40_000}
    )


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def recorder(warnings: list[str]) -> Iterator[Recorder]:
    recorder = Recorder(warnings.append, stop=lambda: False)
    yield recorder
    recorder.close()


def finish(recorder: Recorder) -> None:
    """Let it make all its videos."""
    recorder._thread.shutdown()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_videos_are_made_one_after_another(
    recorder: Recorder, warnings: list[str], replay: Replay, tmp_path: Path
):
    for name in ("a", "b"):
        recorder.record(replay, tmp_path / "videos" / f"{name}.mp4")
    finish(recorder)
    assert files(tmp_path) == ["a.mp4", "b.mp4"] and warnings == []
    for path in (tmp_path / "videos").iterdir():
        assert imageio_ffmpeg.count_frames_and_secs(str(path))[0] == replay.frames + 120 == 162


def test_nobody_waits_for_a_video(recorder: Recorder, long: Replay, tmp_path: Path):
    recorder.record(long, tmp_path / "videos" / "long.mp4")
    # It continues by itself.
    wait_until(lambda: files(tmp_path))
    assert not (tmp_path / "videos" / "long.mp4").exists()


def test_failing_videos_cost_one_warning_and_the_next_one_is_made(
    recorder: Recorder, warnings: list[str], replay: Replay, wrong: Replay, tmp_path: Path
):
    for number, game in enumerate([wrong, wrong, replay]):
        recorder.record(game, tmp_path / f"{number}.mp4")
    finish(recorder)
    assert files(tmp_path) == ["2.mp4"]
    assert len(warnings) == 1 and "\n" not in warnings[0]
    assert warnings[0].startswith("no video: ") and "not 99" in warnings[0]


def test_a_gif_that_fails_is_no_missing_video(
    recorder: Recorder, warnings: list[str], replay: Replay, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr("ppo.files.video.small_gif", Mock(side_effect=VideoError("no GIF")))
    recorder.record(replay, tmp_path / "game.mp4")
    finish(recorder)
    assert warnings == ["no GIF. Its replay is kept"] and files(tmp_path) == ["game.mp4"]


@pytest.mark.parametrize("trouble", ["no folder", "no encoder", "no such game"])
def test_any_trouble_is_a_warning(
    recorder: Recorder,
    warnings: list[str],
    replay: Replay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
):
    path = tmp_path / "game.mp4"
    if trouble == "no folder":
        path = tmp_path / "no" / "where" / "game.mp4"
    elif trouble == "no encoder":
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")
    else:
        replay = replay.model_copy(update={"game": "no_such_game"})
    recorder.record(replay, path)
    finish(recorder)
    assert len(warnings) == 1 and files(tmp_path) == []


def test_a_stop_that_ends_the_encoder_too_is_no_trouble(
    warnings: list[str], wrong: Replay, tmp_path: Path
):
    stopping = Recorder(warnings.append, stop=lambda: True)
    stopping.record(wrong, tmp_path / "game.mp4")
    finish(stopping)
    assert warnings == [] and files(tmp_path) == []


def test_giving_up_is_quick_and_leaves_no_file_and_no_warning(
    recorder: Recorder, warnings: list[str], replay: Replay, long: Replay, tmp_path: Path
):
    recorder.record(replay, tmp_path / "done.mp4")
    recorder.record(long, tmp_path / "begun.mp4")
    recorder.record(replay, tmp_path / "waiting.mp4")
    wait_until(lambda: len(files(tmp_path)) == 2 and "done.mp4" in files(tmp_path))
    before = time.monotonic()
    recorder.close()
    assert time.monotonic() - before < 5
    assert files(tmp_path) == ["done.mp4"] and warnings == []


@pytest.fixture
def hanging(tmp_path, monkeypatch) -> Path:
    """An encoder that hangs, in the place of ffmpeg."""
    encoder = tmp_path / "encoder"
    encoder.write_text("#!/bin/sh\nsleep 600\n")
    encoder.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(encoder))
    return encoder


def test_a_stop_does_not_wait_for_an_encoder_that_hangs(
    recorder: Recorder, warnings: list[str], long: Replay, tmp_path: Path, hanging: Path
):
    recorder.record(long, tmp_path / "game.mp4")
    wait_until(lambda: processes_of(hanging))
    before = time.monotonic()
    recorder.close()
    assert time.monotonic() - before < 5
    assert not processes_of(hanging) and files(tmp_path) == ["encoder"] and warnings == []


def test_a_run_does_not_end_without_a_word_nor_never_where_the_encoder_hangs(
    tmp_path: Path, monkeypatch, capfd, hanging: Path
):
    monkeypatch.setattr(ffmpeg, "STALLED_SECONDS", 10)
    monkeypatch.setattr("ppo.replay.recorder.PATIENCE_SECONDS", 0.1)
    train.run(Params(**SHORT_PONG), tmp_path / "run")
    said = capfd.readouterr().out
    assert "could not be made: ffmpeg did nothing for 10 seconds. Its replay is kept" in said
    assert "; Ctrl-C ends the run now, and --resume makes them later\n" in said
    assert "ffmpeg hangs, so the run ends without its last videos; --resume makes" in said
    assert not processes_of(hanging)

    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    train.resume(tmp_path / "run")
    replays = [path.stem for path in sorted((tmp_path / "run" / "replays").iterdir())]
    assert len(replays) == 2
    assert [path.stem for path in sorted((tmp_path / "run" / "videos").iterdir())] == replays


def test_a_recorder_without_videos_closes_at_once(recorder: Recorder):
    finish(recorder)
    recorder.close()
