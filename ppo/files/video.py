"""Frames to an mp4, streamed to ffmpeg: memory stays constant however long the video."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np


class VideoError(Exception):
    """The video could not be made; no file was left behind."""


def write(path: Path, frames: Iterable[np.ndarray], frames_per_second: float, scale: int) -> int:
    """Encode frames [height, width, 3] (RGB bytes), enlarged ``scale`` times.

    H.264 in yuv420p, which browsers play. The file appears under its name only when it is
    complete and holds every frame. Returns their number. Raises VideoError.
    """
    # An absolute path, since ffmpeg takes "a:b" for a protocol and "-x" for an option.
    partial = path.absolute().with_name(f".ppo-{path.stem}.partial{path.suffix}")
    try:
        count = _encode(partial, frames, frames_per_second, scale)
        found, _ = imageio_ffmpeg.count_frames_and_secs(str(partial))
        if found != count:
            raise VideoError(f"the encoder wrote {found} of {count} frames")
        partial.replace(path)
        return count
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise VideoError(f"{path.name} could not be made: {reason}") from error
    finally:
        partial.unlink(missing_ok=True)


def _encode(path: Path, frames: Iterable[np.ndarray], frames_per_second: float, scale: int) -> int:
    encoder, count = None, 0
    try:
        for frame in frames:
            large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
            if encoder is None:
                encoder = imageio_ffmpeg.write_frames(
                    str(path),
                    (large.shape[1], large.shape[0]),
                    fps=frames_per_second,
                    codec="libx264",
                    pix_fmt_out="yuv420p",
                    macro_block_size=2,
                    quality=None,
                    output_params=["-preset", "veryfast", "-crf", "20", "-threads", "1"],
                    ffmpeg_log_level="error",
                )
                encoder.send(None)
            encoder.send(np.ascontiguousarray(large))
            count += 1
    finally:
        if encoder is not None:
            encoder.close()
    if not count:
        raise VideoError(f"{path.name}: there was no frame")
    return count
