"""One env that shows an episode as people see it: each frame, with its reward and its lives."""

import warnings
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ppo.envs import atari, generic
from ppo.envs.episode import Reset, Rules
from ppo.envs.foreign import Boundary
from ppo.errors import EnvironmentFailed
from ppo.system.streams import first_line

ATARI_FRAMES_PER_SECOND = 60.0  # the console's own
OTHER_FRAMES_PER_SECOND = 30.0  # if an environment does not say


@dataclass(frozen=True)
class Frame:
    """An image [height, width, 3], RGB; its reward; the lives left, or 0; whether it is last."""

    image: np.ndarray
    reward: float
    lives: int
    over: bool


class NoScreen(Exception):
    """The game has no image to show; the message says why and what to do."""

    def __init__(self, rules: Rules, reason: str):
        super().__init__(
            f"{rules.game} cannot be shown: with render_mode='rgb_array' it says: "
            f"{first_line(reason)}. Its scores can be seen with --evaluate"
        )


def fault(rules: Rules) -> str | None:
    """Return why the game cannot be shown, or None if it can."""
    if rules.is_atari:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # Gymnasium's; the message says the same
            RenderedScreen(rules).close()
    except (NoScreen, EnvironmentFailed) as error:
        return str(error)
    return None


class AtariScreen:
    """The console's own image; a step is a frame, as in ``RenderedScreen``."""

    def __init__(self, rules: Rules):
        self._env = atari.screen(rules)
        self.num_actions = int(self._env.single_action_space.n)
        self._lives = 0

    def begin(self, reset: Reset) -> None:
        _, info = self._env.reset(seed=np.array([reset.seed]))
        for _ in range(reset.resets):
            _, info = self._env.reset()
        self._lives = int(info["lives"][0])

    def step(self, action: int) -> Frame:
        images, reward, terminated, truncated, info = self._env.step(np.array([action]))
        over = bool(terminated[0] or truncated[0])
        if not over:
            self._lives = int(info["lives"][0])
        elif terminated[0]:  # `info` already has the next episode's lives
            self._lives = 0
        image = (info["final_obs"] if over else images)[0, 0]
        return Frame(image, float(reward[0]), self._lives, over)

    def close(self) -> None:
        self._env.close()


class RenderedScreen:
    """The images that a Gymnasium environment renders as ``rgb_array``."""

    def __init__(self, rules: Rules):
        """Raises NoScreen."""
        self._rules = rules
        options = {"render_mode": "rgb_array", "disable_env_checker": True}
        try:
            self._env = generic.environment(rules, **options)
            try:
                with Boundary(rules.game, "metadata"):
                    rate = self._env.metadata.get("render_fps")
                    self.frames_per_second = float(rate or OTHER_FRAMES_PER_SECOND)
                self._env.reset(seed=0)
                self._image()
            except (NoScreen, EnvironmentFailed):
                with suppress(EnvironmentFailed):
                    self.close()
                raise
        except EnvironmentFailed as error:
            raise NoScreen(rules, error.reason) from error
        self.num_actions = int(self._env.action_space.n)  # type: ignore[attr-defined]

    def begin(self, reset: Reset) -> None:
        self._env.reset(seed=reset.seed)
        for _ in range(reset.resets):
            self._env.reset()

    def step(self, action: int) -> Frame:
        _, reward, terminated, truncated, _ = self._env.step(action)
        return Frame(self._image(), float(reward), 0, bool(terminated or truncated))

    def close(self) -> None:
        self._env.close()

    def _image(self) -> np.ndarray:
        image = self._env.render()
        array = isinstance(image, np.ndarray) and image.dtype == np.uint8
        if not (array and image.ndim == 3 and image.shape[2] == 3 and image.size):
            raise NoScreen(self._rules, "it gave no image of bytes [height, width, 3]")
        return image
