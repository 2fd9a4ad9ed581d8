import multiprocessing
import os
import subprocess
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from ppo.files import ffmpeg
from ppo.files.video import VideoError, write
from tests.processes import group_of, wait_until

HEIGHT, WIDTH, SCALE = 21, 16, 4


def numbered(count: int) -> Iterator[np.ndarray]:
    """Pictures that tell their number: one column for each of its bits, black or white."""
    for number in range(count):
        bits = [(number >> column) & 1 for column in range(WIDTH)]
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[:, np.array(bits, bool)] = 255
        yield enlarged(picture)


def enlarged(picture: np.ndarray) -> np.ndarray:
    return np.kron(picture, np.ones((SCALE, SCALE, 1), np.uint8))


def decoded(path: Path) -> tuple[dict, list[np.ndarray]]:
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]
    return meta, [np.frombuffer(raw, np.uint8).reshape(height, width, 3) for raw in reader]


def number_of(large: np.ndarray) -> int:
    columns = large.mean(axis=(0, 2)).reshape(WIDTH, -1).mean(axis=1) > 127
    return sum(1 << int(column) for column in np.flatnonzero(columns))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def encoder(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Replace ffmpeg by a shell script."""
    path = folder / "encoder"
    path.write_text("#!/bin/bash\n" + script.replace("FFMPEG", imageio_ffmpeg.get_ffmpeg_exe()))
    path.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))


@pytest.mark.parametrize("count", [1, 2, 61, 300])
def test_the_video_holds_exactly_the_frames_sent_in_their_order(tmp_path: Path, count: int):
    assert write(tmp_path / "game.mp4", numbered(count), 60) == count
    _, pictures = decoded(tmp_path / "game.mp4")
    assert [number_of(picture) for picture in pictures] == list(range(count))
    assert files(tmp_path) == ["game.mp4"]


@pytest.mark.parametrize("folder", ["a:b", "-x", "file:c", "ü %d"])
def test_a_relative_path_may_have_any_name(tmp_path: Path, monkeypatch, folder: str):
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir()
    assert write(Path(folder) / "game.mp4", numbered(9), 60) == 9
    assert files(Path(folder)) == ["game.mp4"]


@pytest.mark.parametrize("rate", [60, 15])
def test_the_video_is_what_browsers_play_at_its_true_speed(tmp_path: Path, rate: int):
    write(tmp_path / "game.mp4", numbered(2 * rate), rate)
    meta, pictures = decoded(tmp_path / "game.mp4")
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p(")
    assert meta["fps"] == rate
    assert meta["duration"] == pytest.approx(2, abs=0.05)
    assert meta["size"] == (WIDTH * SCALE, HEIGHT * SCALE)
    assert len(pictures) == 2 * rate


def test_each_pixel_is_a_sharp_square(tmp_path: Path):
    rows, columns = np.indices((HEIGHT, WIDTH))
    board = np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    write(tmp_path / "game.mp4", [enlarged(board)] * 5, 60)
    _, pictures = decoded(tmp_path / "game.mp4")
    squares = enlarged(board)
    for picture in pictures:
        # Anything but the nearest pixel would leave greys between the squares.
        assert np.abs(picture.astype(int) - squares).max() < 60


@pytest.mark.parametrize("color", [(200, 72, 72), (0, 0, 0), (255, 255, 255), (50, 50, 200)])
def test_colors_are_red_green_blue(tmp_path: Path, color: tuple[int, int, int]):
    write(tmp_path / "game.mp4", [np.full((20, 16, 3), color, np.uint8)] * 3, 60)
    for picture in decoded(tmp_path / "game.mp4")[1]:
        assert np.abs(picture.mean(axis=(0, 1)) - color).max() < 6


def test_frames_are_taken_one_at_a_time_and_not_kept(tmp_path: Path):
    yielded: list[weakref.ref] = []
    most = 0

    def watched() -> Iterator[np.ndarray]:
        nonlocal most
        for picture in numbered(200):
            yielded.append(weakref.ref(picture))
            yield picture
            most = max(most, sum(ref() is not None for ref in yielded))

    assert write(tmp_path / "game.mp4", watched(), 60) == 200
    assert most <= 2


def test_the_file_has_its_name_only_when_it_is_complete(tmp_path: Path):
    path = tmp_path / "game.mp4"

    def watched() -> Iterator[np.ndarray]:
        for picture in numbered(30):
            assert not path.exists()
            # Nobody takes what is being written for a video.
            assert all(name.startswith(".") for name in files(tmp_path))
            yield picture

    write(path, watched(), 60)
    assert files(tmp_path) == ["game.mp4"]


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "head -c 100000 >/dev/null; exit 1",
        "cat >/dev/null",
        'FFMPEG "${@:1:$#-1}" -frames:v 7 "${@: -1}"; true',
    ],
    ids=["never starts", "breaks off", "writes nothing", "loses pictures"],
)
@pytest.mark.parametrize("count", [9, 200])
def test_a_failing_encoder_is_one_line_of_error_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, count: int
):
    (tmp_path / "videos").mkdir()
    encoder(tmp_path, monkeypatch, script)
    with pytest.raises(VideoError) as caught:
        write(tmp_path / "videos" / "game.mp4", numbered(count), 60)
    assert files(tmp_path / "videos") == []
    assert str(caught.value) and "\n" not in str(caught.value)


def test_a_process_that_is_forked_meanwhile_does_not_stall_it(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ffmpeg, "STALLED_SECONDS", 10)
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))

    def forking() -> Iterator[np.ndarray]:
        yield from numbered(2)
        process.start()

    try:
        assert write(tmp_path / "game.mp4", forking(), 60) == 2
    finally:
        process.kill()


def test_output_that_comes_slowly_is_waited_for(tmp_path: Path, monkeypatch):
    encoder(tmp_path, monkeypatch, "for n in 1 2 3 4 5 6 7 8; do sleep 0.5; echo $n; done")
    with ffmpeg.running([], patience=2, stdout=subprocess.PIPE) as work:
        assert work.output().split() == [b"%d" % n for n in range(1, 9)]


@pytest.mark.parametrize(
    "script",
    [
        "sleep 600",
        "head -c 100000 >/dev/null; sleep 600",
        "cat >/dev/null; sleep 600",
        'if [ "${@: -1}" = /dev/null ]; then sleep 600; else FFMPEG "$@"; fi',
    ],
    ids=["never reads", "stops reading", "never ends", "never counts"],
)
def test_an_encoder_that_hangs_is_killed(tmp_path: Path, monkeypatch, script: str):
    monkeypatch.setattr(ffmpeg, "STALLED_SECONDS", 3)
    (tmp_path / "videos").mkdir()
    encoder(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; {script}")
    with pytest.raises(VideoError, match=r"^game\.mp4 could .*: ffmpeg did nothing for 3 seconds$"):
        write(tmp_path / "videos" / "game.mp4", numbered(200), 60)
    assert files(tmp_path / "videos") == []
    leader = int((tmp_path / "pid").read_text())
    wait_until(lambda: not group_of(leader))  # nor what the script started


def test_an_encoder_that_hangs_is_abandoned_at_once(tmp_path: Path, monkeypatch):
    encoder(tmp_path, monkeypatch, "sleep 600")
    with pytest.raises(VideoError, match="it was abandoned"):
        write(tmp_path / "game.mp4", numbered(200), 60, abandoned=lambda: True)


def test_the_reason_of_a_failure_is_the_encoder_s_own(tmp_path: Path, monkeypatch, capfd):
    encoder(tmp_path, monkeypatch, "cat >/dev/null; echo No space left >&2; exit 1")
    with pytest.raises(VideoError, match=r"^game\.mp4 could not be made: No space left$"):
        write(tmp_path / "game.mp4", numbered(9), 60)
    assert capfd.readouterr().err == ""


def test_a_ctrl_c_of_the_terminal_does_not_reach_the_encoder(tmp_path: Path, monkeypatch):
    encoder(
        tmp_path,
        monkeypatch,
        'cut -d" " -f6 /proc/$$/stat > SEEN; FFMPEG "$@"'.replace("SEEN", f"{tmp_path}/seen"),
    )
    write(tmp_path / "game.mp4", numbered(3), 60)
    assert int((tmp_path / "seen").read_text()) != os.getsid(0)


def test_a_video_short_of_frames_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    encoder(tmp_path, monkeypatch, 'FFMPEG "${@:1:$#-1}" -frames:v 7 "${@: -1}"')
    with pytest.raises(VideoError, match="wrote 7 of 9 frames"):
        write(tmp_path / "game.mp4", numbered(9), 60)


def test_no_encoder_at_all_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nothing"))
    with pytest.raises(VideoError, match=r"^game\.mp4 could not be made: "):
        write(tmp_path / "game.mp4", numbered(3), 60)
    assert files(tmp_path) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(VideoError, match=r"^game\.mp4 could not be made: "):
        write(tmp_path / "nowhere" / "game.mp4", numbered(3), 60)
    assert files(tmp_path) == []


def test_no_frame_makes_no_video(tmp_path: Path):
    with pytest.raises(VideoError, match="no frame"):
        write(tmp_path / "game.mp4", [], 60)
    assert files(tmp_path) == []


@pytest.mark.parametrize("stop", [KeyError, KeyboardInterrupt])
def test_frames_that_break_off_leave_no_file_and_raise_their_own_error(
    tmp_path: Path, stop: type[BaseException]
):
    def broken() -> Iterator[np.ndarray]:
        yield from numbered(20)
        raise stop

    with pytest.raises(stop):
        write(tmp_path / "game.mp4", broken(), 60)
    assert files(tmp_path) == []


def test_an_older_video_stays_if_the_new_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "videos" / "game.mp4"
    path.parent.mkdir()
    write(path, numbered(5), 60)
    before = path.read_bytes()
    encoder(tmp_path, monkeypatch, "head -c 100 >/dev/null; exit 1")
    with pytest.raises(VideoError):
        write(path, numbered(50), 60)
    assert path.read_bytes() == before and files(path.parent) == ["game.mp4"]
