"""Frames to an mp4, streamed to ffmpeg: memory stays constant however long the video."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

# For large squares and what stands still: the fastest preset with what costs little of the others,
# at a constant quality, which needs no look ahead: half the time of "veryfast", the files hardly
# larger.
_QUALITY = ["-preset", "ultrafast", "-x264-params", "cabac=1:8x8dct=1:scenecut=0", "-qp", "20"]


class VideoError(Exception):
    """The video could not be made; no file was left behind."""


def write(
    path: Path,
    frames: Iterable[np.ndarray],
    frames_per_second: float,
    scale: int = 1,
    title: str = "",
) -> int:
    """Encode frames [height, width, 3] (RGB bytes), enlarged ``scale`` times; the sides are then
    even. Each frame is taken when the one before it is encoded, so that they may share memory.

    H.264 in yuv420p, which browsers play. The file appears under its name only when it is
    complete and holds every frame. Returns their number. Raises VideoError.
    """
    # An absolute path, since ffmpeg takes "a:b" for a protocol and "-x" for an option.
    partial = path.absolute().with_name(f".ppo-{path.stem}.partial{path.suffix}")
    try:
        count = _encode(partial, frames, frames_per_second, scale, title)
        found = _count(partial)
        if found != count:
            raise VideoError(f"the encoder wrote {found} of {count} frames")
        partial.replace(path)
        return count
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise VideoError(f"{path.name} could not be made: {reason}") from error
    finally:
        partial.unlink(missing_ok=True)


def _encode(
    path: Path,
    frames: Iterable[np.ndarray],
    frames_per_second: float,
    scale: int,
    title: str,
) -> int:
    encoder, count = None, 0
    try:
        for frame in frames:
            large = frame
            if scale != 1:
                large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
            if encoder is None:
                encoder = imageio_ffmpeg.write_frames(
                    str(path),
                    (large.shape[1], large.shape[0]),
                    fps=frames_per_second,
                    codec="libx264",
                    pix_fmt_in="yuv420p",
                    pix_fmt_out="yuv420p",
                    macro_block_size=2,
                    quality=None,
                    output_params=[*_QUALITY, "-threads", "1", "-metadata", f"title={title}"],
                    ffmpeg_log_level="error",
                )
                encoder.send(None)
            # Half the bytes, and OpenCV converts them in a tenth of the time that ffmpeg takes.
            encoder.send(cv2.cvtColor(large, cv2.COLOR_RGB2YUV_I420))
            count += 1
    finally:
        if encoder is not None:
            encoder.close()
    if not count:
        raise VideoError(f"{path.name}: there was no frame")
    return count


def _count(path: Path) -> int:
    """Frames in a video, found without decoding them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", str(path), "-map", "0:v:0"]
    command += ["-c", "copy", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, errors="replace").stderr
    counts = re.findall(r"frame= *(\d+)", told)
    if not counts:
        raise RuntimeError(told)
    return int(counts[-1])
