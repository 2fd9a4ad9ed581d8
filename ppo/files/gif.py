"""GIFs of a video for places that cannot show a video: a small one, and one for a page."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from ppo.files import ffmpeg
from ppo.files.folder import write_whole
from ppo.files.video import VideoError

SECONDS, PICTURES_PER_SECOND, WIDTH, COLOURS = 30, 10, 160, 16
MOST_BYTES = 300_000  # later frames are left out
PATIENCE_SECONDS = 300.0  # ffmpeg reads all frames before it writes one
PAGE_PICTURES_PER_SECOND, PAGE_WIDTH, PAGE_COLOURS = 20, 680, 128


def small(video: Path, abandoned: Callable[[], bool] = lambda: False) -> bytes:
    """Return a video's first SECONDS as a GIF of about MOST_BYTES. Raises VideoError."""
    look = _look(PICTURES_PER_SECOND, f"{WIDTH}", COLOURS)
    return _encoded(video, ["-t", f"{SECONDS}"], look, ["-fs", f"{MOST_BYTES}"], abandoned)


def ending(video: Path, path: Path, seconds: float) -> int:
    """Write the end of a video as a GIF and return its size. Raises VideoError or OSError."""
    look = _look(PAGE_PICTURES_PER_SECOND, f"'min(iw,{PAGE_WIDTH})'", PAGE_COLOURS)
    patience = PATIENCE_SECONDS + 2 * seconds
    gif = _encoded(video, ["-sseof", f"-{seconds}"], look, patience=patience)
    write_whole(path, gif)
    return len(gif)


def _look(rate: int, width: str, colours: int) -> str:
    """Return an ffmpeg filter with one palette for all frames and no dithering, which flickers."""
    return (
        f"fps={rate},scale={width}:-2:flags=area,split[images][copy];"
        f"[copy]palettegen=max_colors={colours}[palette];[images][palette]paletteuse=dither=none:"
        "diff_mode=rectangle"
    )


def _encoded(
    video: Path,
    part: list[str],
    look: str,
    limit: list[str] | None = None,
    abandoned: Callable[[], bool] = lambda: False,
    patience: float = PATIENCE_SECONDS,
) -> bytes:
    arguments = ["-threads", "1", *part, "-i", str(video.absolute()), "-filter_complex", look]
    arguments += [*(limit or []), "-f", "gif", "pipe:1"]
    try:
        with ffmpeg.running(arguments, abandoned, patience, stdout=subprocess.PIPE) as encoder:
            gif = encoder.output()
    except (OSError, RuntimeError) as error:
        raise VideoError(f"no GIF of {video.name} could be made: {error}") from error
    if not gif:
        raise VideoError(f"no GIF of {video.name} could be made: it has no frame")
    return gif
