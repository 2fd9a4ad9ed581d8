"""A contact sheet: what the console shows, and how it is processed for the network."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ppo.envs import atari
from ppo.envs.episode import Reset
from ppo.envs.registry import rules_of
from ppo.envs.vector import EnvVector
from ppo.files.atomic import write_whole
from ppo.settings import ResolvedParams

SHOWN_STEPS = (10, 40, 120)
HEIGHT, GAP, HEAD = 420, 16, 40
PAPER, INK = 255, 40


class Moment(NamedTuple):
    """A step of a game."""

    frames: list[np.ndarray]  # of the console, in RGB, each [210, 160, 3]
    grey: np.ndarray  # [210, 160], before scaling
    observation: np.ndarray  # [size, size, stack]


def moments(params: ResolvedParams) -> Iterator[Moment]:
    """Play random actions; yield each step as three emulators show it."""
    rules = rules_of(params)
    actions = np.random.default_rng(0)
    with (
        closing(EnvVector(rules, num_envs=1, threads=1)) as seen,
        closing(atari.screen(rules)) as console,
        closing(atari.screen(rules, grey=True)) as grey,
    ):
        seen.begin_as([Reset(params.seed, 0)])
        for env in (console, grey):
            env.reset(seed=np.array([params.seed]))
        while True:
            action = actions.integers(seen.num_actions, size=1)
            frames = []
            for _ in range(params.frame_skip):
                frame, _, terminated, truncated, _ = console.step(action)
                frames.append(frame[0, 0].copy())
                if terminated[0] or truncated[0]:
                    break
            seen.send(action)
            seen.receive()
            yield Moment(frames, grey.step(action)[0][0, 0], seen.observations[0])


def draw(params: ResolvedParams, path: Path) -> None:
    """Write the sheet as a PNG. Raises OSError."""
    game = zip(range(1, max(SHOWN_STEPS) + 1), moments(params), strict=False)
    rows = []
    for step, (frames, grey, observation) in game:
        if step in SHOWN_STEPS:
            planes, narrow = np.moveaxis(observation, -1, 0), HEIGHT * 160 // 210
            console, scaled = _enlarged(frames[-1], narrow), _enlarged(planes[-1], HEIGHT)
            rows.append([console, _enlarged(grey, narrow), scaled, _grid(planes)])
    size, stack = params.screen_size, params.frame_stack
    heads = (
        "console, 160 x 210",
        f"grey, maximum of {min(2, params.frame_skip)} frames",
        f"scaled, {size} x {size}",
        f"stack of {stack}, oldest first",
    )
    steps = ", ".join(map(str, SHOWN_STEPS))
    *lefts, width = np.cumsum([GAP, *(image.shape[1] + GAP for image in rows[0])]).tolist()
    title = _line({GAP: f"{params.env_id}, steps {steps} of a game at random"}, width)
    captions = _line(dict(zip(lefts, heads, strict=True)), width)
    sheet = np.concatenate([title, captions, *map(_joined, rows)])
    done, png = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert done
    write_whole(path, png.tobytes())


def _grid(planes: np.ndarray) -> np.ndarray:
    """Arrange the planes in a square, row by row."""
    across = int(np.ceil(np.sqrt(len(planes))))
    size = HEIGHT // across
    grid = np.full((HEIGHT, HEIGHT, 3), PAPER, np.uint8)
    for number, plane in enumerate(planes):
        top, left = (number // across) * size, (number % across) * size
        cell = cv2.resize(plane, (size - 2, size - 2), interpolation=cv2.INTER_NEAREST)
        grid[top : top + size - 2, left : left + size - 2] = cell[..., np.newaxis]
    return grid


def _enlarged(image: np.ndarray, width: int) -> np.ndarray:
    large = cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_NEAREST)
    return large if large.ndim == 3 else cv2.cvtColor(large, cv2.COLOR_GRAY2RGB)


def _joined(images: list[np.ndarray]) -> np.ndarray:
    """Join images side by side on paper, with a gap around each."""
    apart = [np.pad(image, ((0, GAP), (GAP, 0), (0, 0)), constant_values=PAPER) for image in images]
    return np.pad(np.hstack(apart), ((0, 0), (0, GAP), (0, 0)), constant_values=PAPER)


def _line(texts: dict[int, str], width: int) -> np.ndarray:
    """Draw a line of texts, each at its distance from the left."""
    line, font = np.full((HEAD, width, 3), PAPER, np.uint8), cv2.FONT_HERSHEY_SIMPLEX
    for left, text in texts.items():
        cv2.putText(line, text, (left, HEAD - 12), font, 0.7, (INK,) * 3, 1, cv2.LINE_AA)
    return line
