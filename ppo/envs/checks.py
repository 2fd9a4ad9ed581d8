"""Checks of the settings against their game, and of an environment before its first run."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import get_args

import gymnasium
import numpy as np

from ppo.envs import factories, roms
from ppo.envs.factories import Factory
from ppo.envs.foreign import ForeignEnv, closing
from ppo.envs.registry import UnknownGame, is_atari, look_up, nearest
from ppo.errors import EnvironmentFailed
from ppo.settings import Params, limits, marked
from ppo.settings.fields import FlatNetwork, ImageNetwork
from ppo.settings.rules import IDLE_RULES, broken
from ppo.system.own_modules import staying
from ppo.system.streams import either

# In pixels. For smaller images the third convolution of the network "nature" has no output.
SMALLEST_SIDE = limits("screen_size")["ge"]
MOST_ACTIONS = 40_000  # the header of a log names each, and is read up to 1 MiB


def check(params: Params, bad: frozenset[str]) -> list[str]:
    """Return the faults of the settings that depend on the game (a check for ``params.load``).
    Raises EnvironmentFailed.
    """
    return _faults(params, _misfits(params, bad))


def check_again(env: Factory | None) -> Callable[[Params, frozenset[str]], list[str]]:
    """Return the check of an existing run's settings, which is ``check``. Without ``env`` it also
    refuses the id of a factory: another function of this process may have the same id by chance.
    """

    def without_factory(params: Params, bad: frozenset[str]) -> list[str]:
        if factories.is_factory(params.env_id):
            return _faults(params, {"env_id": nearest(params.env_id)})
        return check(params, bad)

    return check if env else without_factory


def check_new(params: Params, bad: frozenset[str]) -> list[str]:
    """Return the faults of ``check``, and a fault for each setting of a new run that has no effect.
    Raises EnvironmentFailed.
    """
    misfits = _misfits(params, bad, is_new=True)
    bad |= misfits.keys()
    return _faults(params, misfits) + without_effect(params, bad) + broken(IDLE_RULES, params, bad)


def without_effect(params: Params, bad: frozenset[str]) -> list[str]:
    """Return a fault for each changed setting, except ``bad``, that game and network do not use."""
    why = {}
    if "env_id" not in bad and not is_atari(params.env_id):
        why["Atari"] = f"{params.env_id} is not an Atari game"
    if bad.isdisjoint(["env_id", "network"]):  # another game may need another network
        unused = {
            "images": not params.sees_images,
            "mlp": params.network != "mlp",
            "built-in networks": params.is_custom,
        }
        reason = f"the network is {params.network}"
        why |= {users: reason for users, is_unused in unused.items() if is_unused}
    idle = {key: why[users] for key, users in marked("only").items() if users in why}
    default = {key: Params.model_fields[key].default for key in idle}
    allowed = {key: (default[key], marked("idle").get(key, default[key])) for key in idle}
    return [
        f"{key} = {json.dumps(value)}: has no effect, since {reason}. Remove it"
        for key, reason in idle.items()
        if key not in bad and (value := getattr(params, key)) not in allowed[key]
    ]


def _faults(params: Params, reasons: Mapping[str, str]) -> list[str]:
    return [f"{key} = {getattr(params, key)!r}: {reason}" for key, reason in reasons.items()]


def _misfits(params: Params, bad: frozenset[str], is_new: bool = False) -> dict[str, str]:
    """Return why the game cannot be played, or why the network does not fit it, by setting. An
    environment that ignores its seed is only refused for a new run. Raises EnvironmentFailed.
    """
    if "env_id" in bad:
        return {}
    try:
        game, _ = look_up(params.env_id)
    except UnknownGame as error:
        return {"env_id": str(error)}
    if roms.is_rom(game):
        return _network_misfit(params, bad, images=True)
    return _environment_misfit(params, bad, is_new)


def _network_misfit(params: Params, bad: frozenset[str], images: bool) -> dict[str, str]:
    if "network" in bad or params.is_custom or images == params.sees_images:
        return {}
    what = "image" if images else "vector"
    use = either(get_args(ImageNetwork if images else FlatNetwork))
    return {"network": f"{params.env_id} has {what} observations; use {use}"}


def _environment_misfit(params: Params, bad: frozenset[str], is_new: bool) -> dict[str, str]:
    """Return the misfit that the first steps in the environment show. Raises EnvironmentFailed."""
    try:
        with staying(), closing(ForeignEnv(params.env_id)) as environment:
            fault = _space_fault(environment) or _start_fault(environment, params.env_id, is_new)
            if fault:
                return {"env_id": fault}
    except EnvironmentFailed as error:
        if not error.refused:
            raise
        return {"env_id": f"its {error.call} cannot be used: {error.reason}"}
    shape = environment.observation_space.shape or ()
    return _network_misfit(params, bad, images=len(shape) == 3)


def _start_fault(environment: ForeignEnv, env_id: str, is_new: bool) -> str | None:
    """Return the fault that starts with the same seed show. An old run may differ."""
    start, again = _start(environment, seed=0), _start(environment, seed=0)
    with np.errstate(over="ignore"):
        if not np.isfinite(np.stack([start, again])[:, :-3].astype(np.float32)).all():
            return "its first observations are not finite in float32"
    if not is_new:
        return None
    if not np.array_equal(start, again, equal_nan=True):  # a reward may be NaN
        return "two resets with the same seed, each with the same step, differ; use reset's seed"
    # A second environment may be impossible.
    with suppress(EnvironmentFailed), closing(ForeignEnv(env_id)) as other:
        beside = _start(environment, seed=0, meanwhile=lambda: _start(other, seed=1))
        if not np.array_equal(again, beside, equal_nan=True):
            return (
                "a step after the same seed differs if another environment of this id plays "
                "meanwhile; use self.np_random, not random numbers that both share"
            )
    return None


def _start(
    environment: ForeignEnv, seed: int, meanwhile: Callable[[], object] = lambda: None
) -> np.ndarray:
    """Return the observations of a reset and of a step, and the step's other three numbers."""
    first, _ = environment.reset(seed=seed)
    meanwhile()
    second, *outcome, _ = environment.step(0)
    return np.concatenate([first.ravel(), second.ravel(), outcome])


def _space_fault(environment: ForeignEnv) -> str | None:
    actions, observations = environment.action_space, environment.observation_space
    if not isinstance(actions, gymnasium.spaces.Discrete):
        return f"its actions are {actions}; they must be Discrete"
    if actions.start != 0:
        return f"its actions are {actions}; they must be Discrete from 0, without a start"
    if actions.n > MOST_ACTIONS:
        return f"its actions are {actions}; they must be at most {MOST_ACTIONS:,}"
    shape = observations.shape or ()
    flat = len(shape) == 1 and shape[0] > 0
    large = len(shape) == 3 and min(shape[:2]) >= SMALLEST_SIDE and shape[2] > 0
    image = large and observations.dtype == np.uint8
    if isinstance(observations, gymnasium.spaces.Box) and (flat or image):
        return None
    return (
        f"its observations are {observations}; they must be a Box of vectors that is not "
        f"empty, or an image of bytes [height, width, channels] of {SMALLEST_SIDE} pixels or more"
    )
