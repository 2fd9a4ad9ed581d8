"""Videos of whole games of a trained run: ``--watch``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ppo.checkpoint import Which
from ppo.envs import registry, screens
from ppo.evaluate.agent import settings_of
from ppo.evaluate.games import POLICIES, games_of
from ppo.evaluate.progress import progress
from ppo.files import gif
from ppo.files.folder import FolderError, RunFolder, check_writable
from ppo.files.held import with_names
from ppo.replay.course import Course
from ppo.replay.render import record
from ppo.replay.replay import Replay

if TYPE_CHECKING:
    from ppo.policy import Choice, Policy

FRAMES_A_LINE = 3600  # frames between two lines of progress: a minute of a game


def watch_run(
    logdir: Path,
    num_games: int,
    policies: Sequence["Choice"] = POLICIES["sampled"],
    which: Which = "newest",
    seed: int | None = None,
    plain: bool = False,
    gif_seconds: float = 0,
) -> list[Path]:
    """Play whole games as ``evaluate_run`` does and make a video of each. Unless ``plain`` is set,
    a panel shows what the network does. Also make a GIF of the last ``gif_seconds``. Print the
    paths. Raises FolderError, before any game, if the game cannot be shown or no video can be
    saved.
    """
    settings = settings_of(RunFolder(logdir))
    if fault := screens.fault(registry.rules_of(settings)):
        raise FolderError(fault)
    check_writable(RunFolder(logdir).replays, RunFolder(logdir).videos)
    with games_of(logdir, num_games, policies, which, seed, Console()) as (folder, games):
        made = []
        folder.videos.mkdir(exist_ok=True)
        saved = [
            (played.agent.policy, episode.time_limited, *kept)
            for played in games
            for episode, kept in zip(
                played.evaluation.episodes, played.save(folder, "watched"), strict=True
            )
        ]
        for policy, limited, path, replay in saved:
            video = folder.videos / f"{path.stem}.mp4"
            gaps = _record(replay, video, None if plain else policy)
            made.append(Path(with_names(video)))
            end = ", ended by the time limit" * limited
            print(
                f"score {replay.score:.10g} in {replay.steps:,} steps{end}: {made[-1]}", flush=True
            )
            if gaps:
                print(gaps, flush=True)
            if gif_seconds:
                picture = video.with_suffix(".gif")
                size = gif.ending(video, picture, gif_seconds)
                made.append(Path(with_names(picture)))
                print(f"its last {gif_seconds:g} seconds, {size / 1e6:.2f} MB: {made[-1]}")
    return made


def _record(replay: Replay, video: Path, policy: "Policy | None") -> str:
    """Make a video and show its progress. Return a note about what the video leaves out."""
    count = f"frame {{:,}} of {replay.frames:,}"
    with progress("making a video", count, FRAMES_A_LINE, Console()) as note:
        course = Course(replay, note)
        record(replay, video, policy, course)
    return course.gaps
