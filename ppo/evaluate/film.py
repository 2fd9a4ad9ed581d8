"""A film of how a run learnt: ends of games, beside the learning curve up to each: ``--film``."""

import hashlib
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from ppo.files import origin, video
from ppo.files.folder import FolderError, RunFolder, check_run, check_writable
from ppo.files.held import with_names
from ppo.files.lock import visited
from ppo.params import load_run
from ppo.replay import drawing, render
from ppo.replay.drawing import AMBER, BLUE, BRIGHT, DIM, FIELD, LINE, write
from ppo.replay.panel import HEIGHT, LABEL, LEFT, RIGHT
from ppo.replay.replay import Replay, ReplayError, frames, frames_per_second, load, step_of
from ppo.settings import Params
from ppo.system import reading
from ppo.system.streams import duration, say
from ppo.telemetry import curves, progress
from ppo.telemetry.curves import Curve

FILM = "film.mp4"
CLIPS = 12  # at most
CLIP_SECONDS = 5
SPEED = 2  # times as fast as the game
STILL_SECONDS = 0.6  # how long a clip holds its last frame
CURVE = LEFT + 100, 250, RIGHT, 660  # left, top, right, bottom


def film(logdir: Path, again: bool = True) -> Path:
    """Write a run's film. If not ``again``, leave a film of the same games as it is. Raises
    FolderError, ReplayError or VideoError.
    """
    check_run(logdir)
    check_writable(RunFolder(logdir).videos)
    with visited(logdir) as folder:
        chosen, path = clips(folder), folder.videos / FILM
        made = Path(with_names(path))
        games = "".join(game.model_dump_json() for game in chosen)
        mark = hashlib.sha256(games.encode()).hexdigest()
        with suppress(OSError):  # there may be no film yet
            if not again and mark.encode() in reading.content(path):
                return made
        curve, fork_of = curves.read(folder.path), origin.read(folder)
        folder.videos.mkdir(exist_ok=True)
        rate = frames_per_second(chosen[0])
        title = f"{chosen[0].game}: how the policy learnt, to step {step_of(chosen[-1]):,}"
        first_step = fork_of.step if fork_of else 0
        count = video.write(path, images(chosen, curve, first_step), rate, title, mark)
        say(f"{len(chosen)} games of the training in {duration(count / rate)}: {made}")
        return made


def clips(folder: RunFolder) -> list[Replay]:
    """Return CLIPS games or fewer, evenly over the steps. Raises ParamsError or FolderError."""
    games, params = [], load_run(folder.params)
    for path in folder.replays.glob("step-*.json"):
        with suppress(ReplayError):
            games.append(load(path, params.env_id))
    games.sort(key=step_of)
    if len(games) < 2:
        raise FolderError(
            f"{folder.name} has no film yet: it needs 2 recorded games of the training, and has "
            f"{len(games)}; {_next_recording(folder, params)}"
        )
    wanted = np.linspace(step_of(games[0]), step_of(games[-1]), CLIPS)
    steps = np.array([step_of(game) for game in games])
    return [games[n] for n in sorted({int(np.abs(steps - step).argmin()) for step in wanted})]


def _next_recording(folder: RunFolder, params: Params) -> str:
    """Return when a run's next game of the training is recorded."""
    if not params.video_interval:
        return "none is recorded, because video_interval is 0"
    rows = progress.numbers(folder.path)
    after = int(rows[-1]["step"]) if rows else 0
    coming = (after // params.video_interval + 1) * params.video_interval
    end = params.end_from(after)
    if coming <= end:
        return f"the next is recorded at step {coming:,}"
    return (
        f"the run ends at step {end:,}, before the next at step {coming:,}; give it "
        "more total_steps, or a smaller video_interval, with --resume --set"
    )


def images(chosen: list[Replay], curve: Curve, first_step: int) -> Iterator[np.ndarray]:
    """Yield the frames of the film of a run that began at a step. They share their memory."""
    side: _Side | None = None
    for game in chosen:
        rate = frames_per_second(game)
        for image in _end_of(game, round(CLIP_SECONDS * SPEED * rate)):
            if side is None:
                whole, place, free = render.beside(render.enlarged(image))
                side = _Side(free, curve, first_step, game.game.replace("_", " "))
            render.enlarged(image, place)
            side.show(game)
            yield whole
        render.draw_score(place, game.score)
        for _ in range(round(STILL_SECONDS * rate)):
            yield whole


def _end_of(game: Replay, count: int) -> Iterator[np.ndarray]:
    """Yield every SPEED-th of the last ``count`` frames of a game, including the very last."""
    last: deque[np.ndarray] = deque(maxlen=count)
    for frame in frames(game):
        last.append(frame.image.copy())
    yield from list(last)[::-SPEED][::-1]


class _Side:
    """The panel of a film: the learning curve up to a game's step, and text about the game."""

    def __init__(self, on: np.ndarray, curve: Curve, first_step: int, name: str):
        self._on, self._steps, self._step = on, curve.steps, -1
        left, top, right, bottom = CURVE
        low, high = float(curve.scores.min()), float(curve.scores.max())
        margin, ends = 0.06 * (high - low) or 1.0, (first_step, curve.steps[-1])
        columns = np.interp(curve.steps, ends, (0, right - left - 10))
        rows = np.interp(curve.scores, (low - margin, high + margin), (bottom - top, 0))
        self._points = np.stack([columns, np.rint(rows)], axis=1).astype(np.int32)
        write(on, f"how it learnt: {name}", LEFT, 50, 1.05, BRIGHT, bold=True)
        write(on, "training step", LEFT, 104, LABEL, DIM)
        write(on, "score of this game", 420, 104, LABEL, DIM)
        write(on, "mean score of the last 100 games", LEFT, 226, LABEL, DIM)
        on[top:bottom, left:right] = FIELD
        for score, row in ((low, top + round(rows.max())), (high, top + round(rows.min()))):
            on[row, left:right] = LINE
            write(on, f"{score:.1f}", left - 12, row + 7, LABEL, DIM, align=1)
        write(on, f"{first_step:,}", left, bottom + 34, LABEL, DIM)
        write(on, f"{int(curve.steps[-1]):,} steps", right, bottom + 34, LABEL, DIM, align=1)
        note = f"the last {CLIP_SECONDS * SPEED} seconds of some games of the training,"
        write(on, note, LEFT, HEIGHT - 70, LABEL, DIM)
        write(on, f"{SPEED} times as fast as they were played", LEFT, HEIGHT - 38, LABEL, DIM)
        self._empty = on[top:bottom, left:right].copy()

    def show(self, game: Replay) -> None:
        """Show at which step of the training a game was played."""
        step = step_of(game)
        if step == self._step:
            return
        self._step = step
        drawing.write_number(self._on, f"{step:,}", LEFT, 152, 13, 1.35, AMBER, bold=True, align=0)
        score = drawing.number_text(game.score, ",.10g", 9)
        drawing.write_number(self._on, score, 420, 152, 9, 1.35, BRIGHT, bold=True, align=0)
        left, top, right, bottom = CURVE
        field = self._on[top:bottom, left:right]
        field[:] = self._empty
        points = self._points[self._steps <= step]
        if len(points):
            cv2.polylines(field, [points], False, BLUE, 3, cv2.LINE_AA)
            cv2.circle(field, points[-1].tolist(), 8, AMBER, -1, cv2.LINE_AA)
