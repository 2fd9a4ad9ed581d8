"""Frames to an mp4, streamed to ffmpeg: memory stays constant however long the video."""

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from ppo.errors import PPOError
from ppo.files import ffmpeg
from ppo.files.folder import replacing

# For large squares and what stands still: the fastest preset with what costs little of the others,
# at a constant quality, which needs no look ahead: half the time of "veryfast", the files hardly
# larger.
_QUALITY = ["-preset", "ultrafast", "-x264-params", "cabac=1:8x8dct=1:scenecut=0", "-qp", "20"]


class VideoError(PPOError):
    """The video could not be made; no file was left behind."""


def write(
    path: Path,
    frames: Iterable[np.ndarray],
    frames_per_second: float,
    title: str = "",
    abandoned: Callable[[], bool] = lambda: False,
) -> int:
    """Encode frames [height, width, 3] (RGB bytes), whose sides are even. Each frame is taken when
    the one before it is encoded, so that they may share memory.

    H.264 in yuv420p, which browsers play. The file appears under its name only when it is
    complete and holds every frame. Returns their number. Raises VideoError, also once ``abandoned``
    returns True.
    """
    # An absolute path, since ffmpeg takes "a:b" for a protocol and "-x" for an option.
    try:
        with replacing(path.absolute(), path.suffix) as partial:
            count = _encode(partial, iter(frames), frames_per_second, title, abandoned)
            found = _count(partial, abandoned)
            if found != count:
                raise VideoError(f"the encoder wrote {found} of {count} frames")
        return count
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        reason = reason.replace(partial.name, path.name)
        raise VideoError(f"{path.name} could not be made: {reason}") from error


def _encode(
    path: Path,
    frames: Iterator[np.ndarray],
    rate: float,
    title: str,
    abandoned: Callable[[], bool],
) -> int:
    first = next(frames, None)
    if first is None:
        raise VideoError(f"{path.name}: there was no frame")
    height, width = first.shape[:2]
    given = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", f"{rate}"]
    made = ["-c:v", "libx264", "-pix_fmt", "yuv420p", *_QUALITY, "-threads", "1"]
    made += ["-metadata", f"title={title}", "-y", str(path)]
    count = 0
    arguments = [*given, "-i", "pipe:0", *made]
    with ffmpeg.running(arguments, abandoned, stdin=subprocess.PIPE) as encoder:
        for frame in chain([first], frames):
            # Half the bytes, and OpenCV converts them in a tenth of the time that ffmpeg takes.
            encoder.feed(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420))
            count += 1
    return count


def _count(path: Path, abandoned: Callable[[], bool]) -> int:
    """Frames in a video, found without decoding them."""
    found = ["-i", str(path), "-map", "0:v:0", "-c", "copy", "-f", "null", "-progress", "pipe:1"]
    told = ffmpeg.output([*found, "/dev/null"], abandoned).decode()
    return max(map(int, re.findall(r"frame= *(\d+)", told)), default=0)
