"""Encode frames as an mp4, streamed to ffmpeg. Memory stays constant for any video length. A GIF of
a video is for places that cannot show it: a small one, and one for a page.
"""

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from ppo.errors import PPOError
from ppo.files import ffmpeg
from ppo.files.atomic import replacing, write_whole

# The fastest preset, with the cheap options of the other presets, suits large squares and still
# images. Constant quality needs no look-ahead. These options take half the time of "veryfast", and
# the files are hardly larger.
_QUALITY = ["-preset", "ultrafast", "-x264-params", "cabac=1:8x8dct=1:scenecut=0", "-qp", "20"]

# Of the small GIF; later frames are left out.
GIF_SECONDS, GIF_BYTES, GIF_WIDTH = 30, 300_000, 160
PAGE_WIDTH = 680
PATIENCE_SECONDS = 300.0  # for a GIF, ffmpeg reads all frames before it writes one


class VideoError(PPOError):
    """The video could not be made; no file was left behind."""


def write(
    path: Path,
    frames: Iterable[np.ndarray],
    frames_per_second: float,
    title: str = "",
    comment: str = "",
    abandoned: Callable[[], bool] = lambda: False,
) -> int:
    """Encode frames [height, width, 3] (RGB bytes) with even sides. Each frame is taken after the
    previous one is encoded, so frames may share memory. The file contains the ``comment`` as text.

    The format is H.264 in yuv420p, which browsers play. The file appears under its name only when
    it is complete and contains every frame. Return their number. Raises VideoError, also once
    ``abandoned`` returns True.
    """
    # An absolute path, because ffmpeg takes "a:b" for a protocol and "-x" for an option.
    try:
        with replacing(path.absolute(), path.suffix) as partial:
            about = ["-metadata", f"title={title}", "-metadata", f"comment={comment}"]
            count = _encode(partial, iter(frames), frames_per_second, about, abandoned)
            # Counted without decoding them.
            arguments = ["-i", str(partial), "-map", "0:v:0", "-c", "copy", "-f", "null"]
            arguments += ["-progress", "pipe:1", "/dev/null"]
            with ffmpeg.running(arguments, abandoned, stdout=subprocess.PIPE) as counter:
                progress = counter.output().decode()
            written = max(map(int, re.findall(r"frame= *(\d+)", progress)), default=0)
            if written != count:
                raise VideoError(f"the encoder wrote {written} of {count} frames")
        return count
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        reason = reason.replace(partial.name, path.name)
        raise VideoError(f"{path.name} could not be made: {reason}") from error


def _encode(
    path: Path,
    frames: Iterator[np.ndarray],
    rate: float,
    about: list[str],
    abandoned: Callable[[], bool],
) -> int:
    first = next(frames, None)
    if first is None:
        raise VideoError(f"{path.name}: there was no frame")
    height, width = first.shape[:2]
    source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", f"{rate}"]
    target = ["-c:v", "libx264", "-pix_fmt", "yuv420p", *_QUALITY, "-threads", "1"]
    target += [*about, "-y", str(path)]
    count = 0
    arguments = [*source, "-i", "pipe:0", *target]
    with ffmpeg.running(arguments, abandoned, stdin=subprocess.PIPE) as encoder:
        for frame in chain([first], frames):
            # OpenCV converts them in a tenth of ffmpeg's time, and half the bytes are sent.
            encoder.feed(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420))
            count += 1
    return count


def small_gif(video: Path, abandoned: Callable[[], bool] = lambda: False) -> bytes:
    """Return the first GIF_SECONDS as a GIF of about GIF_BYTES. Raises VideoError."""
    look = _look(rate=10, width=f"{GIF_WIDTH}", colours=16)
    return _gif(video, ["-t", f"{GIF_SECONDS}"], [*look, "-fs", f"{GIF_BYTES}"], abandoned)


def gif_of_end(video: Path, path: Path, seconds: float) -> int:
    """Write the end of a video as a GIF and return its size. Raises VideoError or OSError."""
    look = _look(rate=20, width=f"'min(iw,{PAGE_WIDTH})'", colours=128)
    patience = PATIENCE_SECONDS + 2 * seconds
    gif = _gif(video, ["-sseof", f"-{seconds}"], look, patience=patience)
    write_whole(path, gif)
    return len(gif)


def _look(rate: int, width: str, colours: int) -> list[str]:
    """Return ffmpeg's options for one palette for all frames and no dithering, which flickers."""
    filters = (
        f"fps={rate},scale={width}:-2:flags=area,split[images][copy];"
        f"[copy]palettegen=max_colors={colours}[palette];[images][palette]paletteuse=dither=none:"
        "diff_mode=rectangle"
    )
    return ["-filter_complex", filters]


def _gif(
    video: Path,
    part: list[str],
    options: list[str],
    abandoned: Callable[[], bool] = lambda: False,
    patience: float = PATIENCE_SECONDS,
) -> bytes:
    command = ["-threads", "1", *part, "-i", str(video.absolute()), *options, "-f", "gif", "pipe:1"]
    try:
        with ffmpeg.running(command, abandoned, patience, stdout=subprocess.PIPE) as encoder:
            gif = encoder.output()
    except (OSError, RuntimeError) as error:
        raise VideoError(f"no GIF of {video.name} could be made: {error}") from error
    if not gif:
        raise VideoError(f"no GIF of {video.name} could be made: it has no frame")
    return gif
