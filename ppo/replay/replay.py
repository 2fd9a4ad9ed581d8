"""Replays: an episode as a file of a few kB that can be replayed and rendered."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ppo.envs import roms
from ppo.envs.episode import MOST_RESETS, Episode, Reset, Rules
from ppo.envs.foreign import closed_if_it_fails, closing
from ppo.envs.screens import ATARI_FRAMES_PER_SECOND, AtariScreen, Frame, NoScreen, RenderedScreen
from ppo.envs.vector import EnvVector
from ppo.errors import PPOError
from ppo.files.atomic import write_whole
from ppo.settings import limits
from ppo.system import reading
from ppo.system.signals import Interrupted
from ppo.system.streams import first_line

# Steps of the run at which a training episode began and ended. The replay's own step is the end of
# the iteration in which the episode ended.
FIRST, LAST = "first_step", "last_step"

OUTCOME = ("score", "steps", "frames", "last_observation")


class ReplayError(PPOError):
    """The file is not a replay, or its episode does not match it."""


class NamesModule(ReplayError):
    """The replay's game names a module, which is not imported unless something else names it."""

    def __init__(self, path: Path, game: str):
        self.game = game
        super().__init__(
            f"{path}: its game is {game}. A replay alone may not import a module, and the "
            "params.json of its run does not name this one"
        )


class CannotPlay(ReplayError):
    """The game cannot be played here. This says nothing about the replay."""


class Replay(BaseModel):
    """An episode: its rules, its reset, its actions and its outcome."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    game: str
    seed: int = Field(**limits("seed"))
    resets: int = Field(ge=0, le=MOST_RESETS)
    actions: list[Annotated[int, Ge(0)]] = Field(min_length=1)
    frame_skip: int = Field(**limits("frame_skip"))
    sticky_action_probability: float = Field(**limits("sticky_action_probability"))
    noop_max: int = Field(**limits("noop_max"))
    fire_on_reset: bool
    full_action_space: bool
    max_frames_per_game: int = Field(ge=1)
    score: float
    steps: int
    frames: int
    # How the agent saw the episode, and a checksum of its last observation. Older files lack both.
    frame_stack: int = Field(4, **limits("frame_stack"))
    screen_size: int = Field(84, **limits("screen_size"))
    last_observation: int | None = None

    @property
    def rules(self) -> Rules:
        return Rules(**{name: getattr(self, name) for name in Rules.__dataclass_fields__})

    @property
    def score_name(self) -> str:
        """Score as part of a file name, where "-21" after a dash would read as 21."""
        return f"score_{self.score:.10g}"

    @staticmethod
    def from_episode(episode: Episode, rules: Rules, **more: object) -> "Replay":
        """Return a finished episode as a replay. The keys in ``more`` are stored with it."""
        outcome = {name: getattr(episode, name) for name in OUTCOME}
        facts = asdict(rules) | asdict(episode.reset) | outcome
        return Replay(actions=episode.actions.tolist(), **facts, **more)  # type: ignore[arg-type]


def step_of(replay: Replay, name: str = "step") -> int:
    """Return a step that the replay names, by default the step of its end; 0 if missing."""
    step = (replay.model_extra or {}).get(name)
    return step if isinstance(step, int) and step >= 0 else 0


def title(replay: Replay) -> str:
    """Return the title of the episode's video."""
    extra = replay.model_extra or {}
    first, last = step_of(replay, FIRST), step_of(replay, LAST if LAST in extra else "step")
    whose = f"steps {first:,} to {last:,}" if FIRST in extra else f"step {last:,}"
    return f"{replay.game}, score {replay.score:.10g}, {extra.get('policy')} policy of {whose}"


def save(path: Path, replay: Replay) -> None:
    """Write a replay whole or not at all."""
    write_whole(path, (json.dumps(replay.model_dump()) + "\n").encode())


def load(path: Path, env_id: str | None = None) -> Replay:
    """Read a replay. Raises ReplayError, with one line, for any other file. Raises NamesModule for
    a game MODULE:ID that is not ``env_id``: playing it would run code that the file chooses.
    """
    try:
        replay = reading.value(path, TypeAdapter(Replay))
    except OSError as error:
        raise ReplayError(f"{path} is no replay: {error.strerror}") from error
    if ":" in replay.game and replay.game != env_id:
        raise NamesModule(path, replay.game)
    return replay


def compare(
    replay: Replay, interrupted: Callable[[], bool] = lambda: False
) -> dict[str, tuple[float, float | None]]:
    """Replay the episode. Return each fact now and in the file, or None. Raises as ``play``."""
    episode = play(replay, interrupted)
    return {name: (getattr(episode, name), getattr(replay, name)) for name in OUTCOME}


def verify(replay: Replay, interrupted: Callable[[], bool] = lambda: False) -> None:
    """Replay the episode. Raises ReplayError if it differs from the file, and Interrupted."""
    for name, (now, before) in compare(replay, interrupted).items():
        if before is not None and now != before:
            raise ReplayError(f"the replayed game has {name} {now:.10g}, not {before:.10g}")


def play(replay: Replay, interrupted: Callable[[], bool] = lambda: False) -> Episode:
    """Replay the episode as training plays it. Raises ReplayError if it does not end exactly with
    its last action, or if the game lacks one of the actions. Raises Interrupted on request.
    """
    with _refusals(replay), closing(env_at_start(replay)) as vector:
        for number, action in enumerate(replay.actions, 1):
            if interrupted():
                raise Interrupted
            _check_action(action, vector.num_actions)
            vector.send(np.array([action]))
            finished = vector.receive().finished
            if finished and number == len(replay.actions):
                return finished[0]
            if finished:
                raise ReplayError(f"the game ended after {number} of {len(replay.actions)} steps")
        raise ReplayError(f"the game continues after its {len(replay.actions)} steps")


def env_at_start(replay: Replay) -> EnvVector:
    """Return an env as in training, at the beginning of the episode. The caller closes it."""
    vector = EnvVector(replay.rules, 1, 1)
    with closed_if_it_fails(vector):
        vector.begin_as([Reset(replay.seed, replay.resets)])
    return vector


def frames(replay: Replay) -> Iterator[Frame]:
    """Yield the episode frame by frame as the game shows it. Raises ReplayError if it has no image,
    or if the episode does not match the replay, at the latest after the last frame.
    """
    rules, count, score, over = replay.rules, 0, 0.0, False
    kind = AtariScreen if rules.is_atari else RenderedScreen
    with _refusals(replay), closing(kind(rules)) as screen:
        screen.begin(Reset(replay.seed, replay.resets))
        for action in (a for a in replay.actions for _ in range(rules.frames_per_step)):
            _check_action(action, screen.num_actions)
            frame = screen.step(action)
            count, score, over = count + 1, score + frame.reward, frame.over
            yield frame
            if over:
                break
        # Only the last action may be cut short, by the end of the game.
        steps = -(-count // rules.frames_per_step)
        if (score, count, steps, over) != (replay.score, replay.frames, len(replay.actions), True):
            raise ReplayError(
                f"the game gave {score:.10g} points in {count} frames and {steps} steps"
                f"{'' if over else ' and continues'}, not {replay.score:.10g} in {replay.frames} "
                f"and {len(replay.actions)}"
            )


def frames_per_second(replay: Replay) -> float:
    """Return the true speed of the game. Raises ReplayError if the game has no image."""
    with _refusals(replay):
        if replay.rules.is_atari:
            return ATARI_FRAMES_PER_SECOND
        with closing(RenderedScreen(replay.rules)) as screen:
            return screen.frames_per_second


@contextmanager
def _refusals(replay: Replay) -> Iterator[None]:
    """Turn any error of the emulator, which may reject the rules, into a one-line CannotPlay."""
    if roms.is_for_several(replay.game):
        raise CannotPlay(f"{replay.game} cannot be played: the game is for several players")
    try:
        yield
    except (ReplayError, Interrupted):
        raise
    except NoScreen as error:
        raise CannotPlay(str(error)) from error
    except Exception as error:
        raise CannotPlay(f"the game cannot be played: {first_line(error)}") from error


def _check_action(action: int, num_actions: int) -> None:
    if action >= num_actions:
        raise ReplayError(f"action {action} is out of range; the game knows {num_actions}")
