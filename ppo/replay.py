"""A game as a file of a few kB; playing it again, to the same score, and seeing it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
from ale_py.vector_env import AtariVectorEnv
from annotated_types import Ge, Lt
from gymnasium.vector import AutoresetMode
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppo import video
from ppo.folder import write_whole
from ppo.games import Beginning, Game, GameVector, Rules, emulator_rules

FRAMES_PER_SECOND = 60  # the console's own
VIDEO_SCALE = 4

Seed = Annotated[int, Ge(0), Lt(2**31)]


class ReplayError(Exception):
    """The file is no replay, or the game in it does not go as it says."""


class Replay(BaseModel):
    """A game: its rules, its beginning, its actions, and what came of it."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    game: str
    seed: Seed
    resets: int = Field(ge=0, le=100_000)
    actions: list[Annotated[int, Ge(0)]] = Field(min_length=1)
    frame_skip: int = Field(ge=1)
    sticky_action_probability: float = Field(ge=0, lt=1)
    noop_max: int = Field(ge=1)
    fire_on_reset: bool
    full_action_space: bool
    max_frames_per_game: int = Field(ge=1)
    score: float
    steps: int
    frames: int

    @property
    def rules(self) -> Rules:
        """The rules of the game."""
        return Rules(**{name: getattr(self, name) for name in Rules.__dataclass_fields__})

    @staticmethod
    def of(game: Game, rules: Rules, **more: object) -> "Replay":
        """A finished game as a replay; ``more`` keys are stored with it."""
        return Replay(
            **asdict(rules),
            **asdict(game.beginning),
            actions=game.actions.tolist(),
            score=game.score,
            steps=game.steps,
            frames=game.frames,
            **more,  # type: ignore[arg-type]
        )


def save(path: Path, replay: Replay) -> None:
    """Write a replay, whole or not at all."""
    write_whole(path, (json.dumps(replay.model_dump()) + "\n").encode())


def load(path: Path) -> Replay:
    """Read a replay. Raises ReplayError, in one line, for a file that is none."""
    try:
        return Replay.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise ReplayError(f"{path} is no replay: {where}: {first['msg']}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ReplayError(f"{path} is no replay: {error}") from error


def play(replay: Replay) -> Game:
    """Play the game again in its training form.

    Raises ReplayError if it does not end exactly with its last action, or has an action that
    the game does not know.
    """
    with _refusals():
        vector = GameVector(replay.rules, num_envs=1, threads=1)
        try:
            return _play(replay, vector)
        finally:
            vector.close()


def _play(replay: Replay, vector: GameVector) -> Game:
    vector.begin_as([Beginning(replay.seed, replay.resets)])
    for number, action in enumerate(replay.actions, 1):
        _check_action(action, vector.num_actions)
        vector.send(np.array([action]))
        finished = vector.receive().finished
        if finished and number == len(replay.actions):
            return finished[0]
        if finished:
            raise ReplayError(f"the game ended after {number} of {len(replay.actions)} steps")
    raise ReplayError(f"the game goes on after its {len(replay.actions)} steps")


def pictures(replay: Replay) -> Iterator[np.ndarray]:
    """The game as the console shows it: after each of its frames a picture [210, 160, 3], RGB.

    Raises ReplayError, at the latest after the last picture, if the game does not go as it says.
    """
    if not replay.rules.is_atari:
        raise ReplayError(f"{replay.game} has no picture of its own to show")
    with _refusals():
        env = AtariVectorEnv(
            replay.game,
            1,
            num_threads=1,
            autoreset_mode=AutoresetMode.SAME_STEP,
            frameskip=1,
            maxpool=False,
            stack_num=1,
            grayscale=False,
            img_height=210,
            img_width=160,
            reward_clipping=False,
            **emulator_rules(replay.rules),
        )
        try:
            yield from _pictures(replay, env)
        finally:
            env.close()


def _pictures(replay: Replay, env: AtariVectorEnv) -> Iterator[np.ndarray]:
    env.reset(seed=np.array([replay.seed]))
    for _ in range(replay.resets):
        env.reset()
    shown, score, over = 0, 0.0, False
    for action in replay.actions:
        _check_action(action, int(env.single_action_space.n))
        for _ in range(replay.frame_skip):
            if over:
                break
            picture, reward, terminated, truncated, info = env.step(np.array([action]))
            over = bool(terminated[0] or truncated[0])
            shown, score = shown + 1, score + float(reward[0])
            yield (info["final_obs"] if over else picture)[0, 0]
        if over:
            break
    # The last action may be cut short by the end of the game; the others may not.
    steps = -(-shown // replay.frame_skip)
    if (score, shown, steps, over) != (replay.score, replay.frames, len(replay.actions), True):
        raise ReplayError(
            f"the game gave {score:g} points in {shown} frames and {steps} steps"
            f"{'' if over else ' and goes on'}, not {replay.score:g} in {replay.frames} and "
            f"{len(replay.actions)}"
        )


@contextmanager
def _refusals() -> Iterator[None]:
    """What the emulator says of rules that it does not take, as a ReplayError in one line."""
    try:
        yield
    except (ReplayError, video.VideoError, GeneratorExit):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ReplayError(f"the game cannot be played: {reason}") from error


def record(replay: Replay, path: Path) -> int:
    """Make a video of an Atari game, at its true speed. Returns the number of pictures.

    Raises video.VideoError or ReplayError; no file is left behind.
    """
    return video.write(path, pictures(replay), FRAMES_PER_SECOND, VIDEO_SCALE)


def _check_action(action: int, num_actions: int) -> None:
    if action >= num_actions:
        raise ReplayError(f"action {action} is out of range; the game knows {num_actions}")
