"""Videos of whole games of a trained run: ``--watch``."""

from collections.abc import Sequence
from pathlib import Path

from ppo.checkpoint import Which
from ppo.envs import registry, screens
from ppo.evaluate.agent import settings_of
from ppo.evaluate.games import games_of, progress
from ppo.files.folder import FolderError, RunFolder, check_writable
from ppo.files.held import with_names
from ppo.files.video import gif_of_end
from ppo.replay.render import Course, record
from ppo.settings.fields import Choice
from ppo.system.tables import console_of

FRAMES_A_LINE = 3600  # frames between two lines of progress: a minute of a game


def watch_run(
    logdir: Path,
    num_games: int,
    policies: Sequence[Choice] = ("sampled",),
    which: Which = "newest",
    seed: int | None = None,
    plain: bool = False,
    gif_seconds: float = 0,
) -> list[Path]:
    """Play whole games as ``evaluate_run`` does and make a video of each, with a panel unless
    ``plain``, and a GIF of the last ``gif_seconds``. Print the paths. Raises FolderError if the
    game cannot be shown or no video can be saved.
    """
    settings = settings_of(RunFolder(logdir))
    if fault := screens.fault(registry.rules_of(settings)):
        raise FolderError(fault)
    check_writable(RunFolder(logdir).replays, RunFolder(logdir).videos)
    with games_of(logdir, num_games, policies, which, seed, console_of()) as (folder, games):
        made = []
        folder.videos.mkdir(exist_ok=True)
        saved = [
            (game.agent.policy, *kept) for game in games for kept in game.save(folder, "watched")
        ]
        for policy, path, replay, episode in saved:
            video = folder.videos / f"{path.stem}.mp4"
            count = f"frame {{:,}} of {replay.frames:,}"
            with progress("making a video", count, FRAMES_A_LINE, console_of()) as note:
                course = Course(replay, note)
                record(replay, video, course, None if plain else policy)
            made.append(Path(with_names(video)))
            ended = f"{replay.steps:,} steps" + ", ended by the time limit" * episode.time_limited
            print(f"score {replay.score:.10g} in {ended}: {made[-1]}", flush=True)
            if course.gaps:
                print(course.gaps, flush=True)
            if gif_seconds:
                image = video.with_suffix(".gif")
                size = gif_of_end(video, image, gif_seconds)
                made.append(Path(with_names(image)))
                print(f"its last {gif_seconds:g} seconds, {size / 1e6:.2f} MB: {made[-1]}")
    return made
