"""Recorded games, played again and compared with their files: ``python -m ppo.replay``."""

from collections.abc import Sequence
from pathlib import Path

from ppo.play.render import record
from ppo.play.replay import ReplayError, compare, load

# What is told of each quantity that `compare` gives: its name and its form.
TOLD = {
    "score": ("score", "{:.10g}"),
    "steps": ("steps", "{:,}"),
    "frames": ("frames", "{:,}"),
    "last_observation": ("last picture", "{:08x}"),
}


def unusable(files: Sequence[Path], video: Path | None) -> list[str]:
    """All faults of the files and of the place for a video, known before anything is played."""
    faults = []
    for path in files:
        try:
            load(path)
        except ReplayError as error:
            faults.append(str(error))
    if video and len(files) > 1:
        faults.append(f"--video: {len(files)} files are given; choose the one to render")
    if video and video.suffix != ".mp4":
        faults.append(f"--video {video}: a video's name ends in .mp4")
    if video and not video.parent.is_dir():
        faults.append(f"--video {video}: there is no folder {video.parent}; make it first")
    return faults


def play_again(path: Path) -> bool:
    """Play a game and print how it went; returns whether it agrees with its file."""
    try:
        found = compare(load(path))
    except ReplayError as error:
        print(f"{path}: DIFFERS: {error}", flush=True)
        return False
    same = all(before in (None, now) for now, before in found.values())
    told = ", ".join(_told(name, *values) for name, values in found.items())
    print(f"{path}: {'agrees' if same else 'DIFFERS'}: {told}", flush=True)
    return same


def render(path: Path, video: Path) -> None:
    """Make a video of a game. Raises ReplayError or VideoError."""
    print(f"{video}: {record(load(path), video):,} pictures")


def _told(name: str, now: float, before: float | None) -> str:
    label, form = TOLD[name]
    shown = f"{label} {form.format(now)}"
    if before is None:
        return f"{shown} (not recorded)"
    return shown if now == before else f"{shown} (recorded: {form.format(before)})"
