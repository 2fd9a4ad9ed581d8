from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from ppo.files import video
from ppo.files.video import VideoError


def movie(path: Path, frames: Iterator[np.ndarray]) -> Path:
    video.write(path, frames, 60)
    return path


def sliding(count: int) -> Iterator[np.ndarray]:
    """A white bar that moves to the right by a pixel a frame."""
    for number in range(count):
        frame = np.zeros((210, 160, 3), np.uint8)
        frame[:, number % 150 : number % 150 + 10] = 255
        yield frame


def noise(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.integers(256, size=(210, 160, 3), dtype=np.uint8)


def decoded(content: bytes, folder: Path) -> tuple[list[np.ndarray], float]:
    """The pictures, and how long they last together in seconds."""
    path = folder / "picture.gif"
    path.write_bytes(content)
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    width, height = facts["size"]
    pictures = [np.frombuffer(raw, np.uint8).reshape(height, width, 3) for raw in reader]
    return pictures, facts["duration"]


def test_a_gif_has_ten_frames_a_second_in_the_console_s_own_size(tmp_path):
    content = video.small_gif(movie(tmp_path / "bar.mp4", sliding(120)))
    pictures, seconds = decoded(content, tmp_path)
    assert (len(pictures), seconds) == (20, pytest.approx(2.0))
    assert pictures[0].shape == (210, 160, 3)
    lit = [np.flatnonzero(picture[100, :, 0] > 128).mean() for picture in pictures]
    assert lit == sorted(lit) and lit[-1] - lit[0] == pytest.approx(114, abs=6)


def test_a_gif_ends_before_it_gets_large(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "GIF_BYTES", 60_000)
    content = video.small_gif(movie(tmp_path / "noise.mp4", noise(60)))
    pictures, _ = decoded(content, tmp_path)
    one = len(content) / len(pictures)
    assert 1 < len(pictures) < 10 and len(content) < 60_000 + 2 * one


def test_a_gif_shows_the_first_seconds_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "GIF_SECONDS", 1)
    pictures, _ = decoded(video.small_gif(movie(tmp_path / "bar.mp4", sliding(120))), tmp_path)
    assert len(pictures) == 10


def test_what_is_no_video_is_an_error_that_names_it(tmp_path):
    (tmp_path / "letter.mp4").write_text("dear")
    with pytest.raises(VideoError, match=r"no GIF of letter\.mp4"):
        video.small_gif(tmp_path / "letter.mp4")


def test_a_gif_can_be_abandoned(tmp_path):
    with pytest.raises(VideoError):
        video.small_gif(movie(tmp_path / "bar.mp4", sliding(120)), abandoned=lambda: True)
