"""A small GIF of a video, for where no video can be shown."""

import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import imageio_ffmpeg

from ppo.files.video import VideoError

SECONDS, PICTURES_PER_SECOND, WIDTH, COLOURS = 30, 10, 160, 16
MOST_BYTES = 300_000  # later pictures are left out

_FILTER = (
    f"fps={PICTURES_PER_SECOND},scale={WIDTH}:-2:flags=area,split[pictures][copy];"
    f"[copy]palettegen=max_colors={COLOURS}[palette];[pictures][palette]paletteuse=dither=none"
)


def small(video: Path, abandoned: Callable[[], bool] = lambda: False) -> bytes:
    """The first SECONDS of a video as a GIF of about MOST_BYTES at most.

    Raises VideoError if it cannot be made, or once ``abandoned`` returns True.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-threads", "1"]
    command += ["-t", f"{SECONDS}", "-i", str(video.absolute()), "-filter_complex", _FILTER]
    command += ["-fs", f"{MOST_BYTES}", "-f", "gif", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:
        gif = None
        while gif is None:
            if abandoned():
                encoder.kill()
            with suppress(subprocess.TimeoutExpired):
                gif, errors = encoder.communicate(timeout=0.1)
    if encoder.returncode or not gif:
        reason = (errors.decode(errors="replace").strip() or "the encoder failed").splitlines()[-1]
        raise VideoError(f"no GIF of {video.name} could be made: {reason}")
    return gif
