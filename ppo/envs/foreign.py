"""Environments outside Atari: the boundary around their code, which may raise anything."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from traceback import walk_tb
from types import TracebackType
from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from ppo.errors import EnvironmentFailed
from ppo.system.own_modules import current_folder, import_own
from ppo.system.signals import is_signal
from ppo.system.tensorflow_start import set_environment

# Packages whose code lies between this package and an environment's own code.
BETWEEN = frozenset(["contextlib", "gymnasium", "importlib", "numpy"])


_entries: dict[str, EnvSpec] = {}  # by MODULE:ID, as first found

Closable = TypeVar("Closable", bound=Any)


class Unfit(Exception):
    """An environment returned what Gymnasium does not allow."""


class Boundary:
    """Turn whatever a call of an environment raises into EnvironmentFailed, except a signal."""

    def __init__(self, env_id: str, call: str):
        self.env_id, self.call = env_id, call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, EnvironmentFailed) or is_signal(error):
            return
        line, reason = _last_line(error.__traceback__), _words(error)
        did = "tried to end the process" if isinstance(error, SystemExit) else "failed"
        message = f"{self.env_id} {did} in its {self.call}{line and f' ({line})'}: {reason}"
        refused = not line or isinstance(error, gymnasium.error.Error)
        raise EnvironmentFailed(message, self.call, reason, refused) from error


@contextmanager
def closed_if_it_fails(closable: Closable) -> Iterator[Closable]:
    """Close an environment if the context fails. A close that fails does not replace the error."""
    try:
        yield closable
    except BaseException:
        with suppress(EnvironmentFailed):
            closable.close()
        raise


@contextmanager
def closing(closable: Closable) -> Iterator[Closable]:
    """Close an environment when the context ends. A close that fails does not replace an error."""
    with closed_if_it_fails(closable):
        yield closable
    closable.close()


def spec(env_id: str) -> EnvSpec:
    """Return the registry's entry of ``ID`` or ``MODULE:ID``. Raises EnvironmentFailed, even if
    another module has registered the id since: Gymnasium would then make that module's environment.
    """
    module, _, name = env_id.rpartition(":")
    set_environment()  # before code that may import TensorFlow
    with Boundary(env_id, "import"):
        try:
            if module:
                import_own(module)
        except ModuleNotFoundError as error:
            if not f"{module}.".startswith(f"{error.name}."):  # a module that it needs
                raise
            remedy = "install it, or start in its folder, or add that to PYTHONPATH"
            raise Unfit(f"{error}; {remedy}") from error
        entry = gymnasium.spec(name)
        if module and _entries.setdefault(env_id, entry) != entry:
            raise Unfit(f"{name} was registered again since; use another id or another process")
        return entry


class ForeignEnv(gymnasium.Wrapper):
    """An environment whose calls raise EnvironmentFailed, or a signal. Its ``info`` is empty, and
    its observations are copies, which the environment does not change afterwards. Its close
    restores the current folder if its construction or a reset changed it. Whoever calls it, the
    environment gets arguments of the same types.
    """

    def __init__(self, env_id: str, **options: Any):
        """``options`` are arguments of ``gymnasium.make``."""
        self._in_reset, self._in_step = Boundary(env_id, "reset"), Boundary(env_id, "step")
        self._in_render, self._in_close = Boundary(env_id, "render"), Boundary(env_id, "close")
        if not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # else SDL complains, if it is used
        spec(env_id)
        self._left = ""  # the folder that the environment has left; other changes are the program's
        try:
            with self._noting_folder(), Boundary(env_id, "construction"):
                super().__init__(gymnasium.make(env_id, **options))
                self.action_space = self.env.action_space
                self.observation_space = self.env.observation_space
                self._shape = self.observation_space.shape
                self._dtype = np.dtype(self.observation_space.dtype)
                self.metadata = dict(self.env.metadata)
        except BaseException:
            self._return()
            raise

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        with self._noting_folder(), self._in_reset:
            observation, _ = self.env.reset(seed=seed, options=options or {})
            return self._copied(observation), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        with self._in_step:
            # 1 << np.int32(35) is 0.
            observation, reward, terminated, truncated, _ = self.env.step(np.int64(action))
            copy = self._copied(observation)
            return copy, _number(reward), bool(terminated), bool(truncated), {}

    def render(self) -> Any:
        with self._in_render:
            return self.env.render()

    def close(self) -> None:
        try:
            with self._in_close:
                self.env.close()
        finally:
            self._return()

    @contextmanager
    def _noting_folder(self) -> Iterator[None]:
        before = current_folder()
        try:
            yield
        finally:
            if current_folder() != before:
                self._left = self._left or before

    def _return(self) -> None:
        if self._left:
            with suppress(OSError):
                os.chdir(self._left)

    def _copied(self, observation: Any) -> np.ndarray:
        copy = np.array(observation)
        fits = copy.dtype == self._dtype or np.can_cast(copy.dtype, self._dtype, "same_kind")
        if copy.shape == self._shape and fits:
            return copy
        raise Unfit(
            f"the observation is {copy.dtype} of shape {copy.shape}, its space says {self._dtype} "
            f"of shape {self._shape}"
        )


def _number(reward: Any) -> float:
    """Convert the reward to a float. Raises Unfit."""
    if type(reward) is float:
        return reward
    try:
        if not np.ndim(reward):
            return float(reward)
    except (TypeError, ValueError):
        pass
    raise Unfit(f"the reward is {reward!r:.60}, which is not a number")


def _last_line(traceback: TracebackType | None) -> str:
    """Return the file and line of the environment's own code that ran last; "" if none ran."""
    place = ""
    for frame, line in walk_tb(traceback):
        if _is_foreign(frame.f_globals.get("__name__", "")):
            place = f"{frame.f_code.co_filename.rpartition('/')[2]}, line {line}"
    return place


def _is_foreign(module: str) -> bool:
    """Whether a module belongs to an environment; Gymnasium has some of its own."""
    if module.startswith("gymnasium.envs."):
        return not module.startswith("gymnasium.envs.registration")
    return (
        not module.startswith(("ppo.envs.", "ppo.system."))
        and module.partition(".")[0] not in BETWEEN
    )


def _words(error: BaseException) -> str:
    """Return the name and the first line of an error."""
    try:
        message, *_ = str(error).strip().splitlines() or [""]
    except Exception:  # the error's own text may fail as well
        message = ""
    if message and isinstance(error, Unfit | gymnasium.error.Error):
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
