"""The games that exist, by their ids, and the default settings of each."""

import difflib
import re
import secrets
from dataclasses import fields
from typing import Any

import ale_py
import gymnasium

from ppo.envs import factories, roms
from ppo.envs.episode import Rules
from ppo.envs.foreign import ForeignEnv, closing, spec
from ppo.errors import EnvironmentFailed
from ppo.settings import Params, ResolvedParams
from ppo.settings.fields import SEEDS
from ppo.system import device

gymnasium.register_envs(ale_py)

ATARI_V5 = re.compile(r"ALE/\w+-v5")
AROUND_TITLE = re.compile(r"(?i)^ALE/|(-ram)?(NoFrameskip|Deterministic)?(-v\d)?$")  # in an id


class UnknownGame(ValueError):
    """There is no such game; the message names the nearest ones."""


def rules_of(params: ResolvedParams) -> Rules:
    """Return the rules of the settings' game. Raises as ``look_up``."""
    game, _ = look_up(params.env_id)
    names = [field.name for field in fields(Rules) if field.name != "game"]  # as in the settings
    return Rules(game, **{name: getattr(params, name) for name in names})


def look_up(env_id: str) -> tuple[str, float]:
    """Look up an id: return its ROM or Gymnasium environment, and its sticky action probability.

    Raises EnvironmentFailed, and UnknownGame with the nearest names. For an id with a random frame
    skip, it names the ids to use instead.
    """
    env_id = env_id.removeprefix("ale_py:")  # which is imported already
    if ":" in env_id:
        return _gymnasium_id(env_id), 0.0
    if f"ALE/{env_id}-v5" in gymnasium.registry:
        env_id = f"ALE/{env_id}-v5"
    entry = gymnasium.registry.get(env_id)
    if entry is None:
        raise UnknownGame(nearest(env_id))
    if "game" not in entry.kwargs or "repeat_action_probability" not in entry.kwargs:
        if roms.is_rom(env_id):
            raise UnknownGame(f"{env_id} is the name of a ROM too; register it as {env_id}-v0")
        return _gymnasium_id(env_id), 0.0
    if not re.fullmatch(r"ALE/\w+-v5|\w+NoFrameskip-v[04]", env_id):
        name = re.sub(r"-v\d$", "", env_id)
        raise UnknownGame(
            f"{env_id} brings a frame skip of its own, random in -v0 and -v4. Here the setting "
            f"frame_skip decides; use {name}NoFrameskip-v4 or ALE/{name}-v5"
        )
    return entry.kwargs["game"], float(entry.kwargs["repeat_action_probability"])


def resolved(params: Params, processes: int = 1) -> ResolvedParams:
    """Return the settings with every open value chosen, once, when a run begins; ``processes``
    share the cores. Open precision becomes bfloat16 for the image networks, if that is faster here
    and there is no GPU. Otherwise it becomes float32. Open clip_rewards becomes true only in Atari
    games. Raises as ``look_up``.
    """
    game, sticky = look_up(params.env_id)
    fast = params.sees_images and device.bfloat16_is_faster() and not device.has_gpu_driver()
    precision = "bfloat16" if fast else "float32"
    seed, threads = secrets.randbelow(SEEDS), device.default_threads(processes)
    return params.resolved(seed, threads, sticky, precision, clip_rewards=roms.is_rom(game))


def near_ids(name: str, cutoff: float = 0.6) -> list[str]:
    """Return the ids that a name such as "space_invaders" may mean, the likeliest first. The id of
    an Atari game keeps the form of the name, which decides about sticky actions. A game that lacks
    this form gets its v5 id. ``cutoff`` is the least similarity, as in difflib.
    """
    lower = name.lower()
    form = "ALE/{}-v5" if "ale/" in lower else "{}NoFrameskip-v4" if "-v" in lower else "{}"
    atari, other = {}, {}
    for env_id, entry in gymnasium.registry.items():
        if ATARI_V5.fullmatch(env_id):
            written = form.format(env_id[4:-3])
            is_id = form == "{}" or written in gymnasium.registry
            atari[env_id[4:-3].lower()] = written if is_id else env_id
        elif "game" not in entry.kwargs:
            other[env_id.lower()] = env_id
    titles = difflib.get_close_matches(AROUND_TITLE.sub("", lower), atari, 3, cutoff)
    others = difflib.get_close_matches(lower, other, 2, cutoff)
    ids = [atari[title] for title in titles] + [other[one] for one in others]
    return sorted(ids, key=lambda one: one.lower() != lower)  # the name itself first


def is_atari(env_id: str) -> bool:
    """Whether an id is an Atari game's; no module that it names is imported."""
    try:
        return ":" not in env_id.removeprefix("ale_py:") and roms.is_rom(look_up(env_id)[0])
    except UnknownGame:  # so it is not one of the installed Atari games
        return False


def observation_shape(params: ResolvedParams) -> tuple[int, ...]:
    """Return the shape of one observation, channels-last, found without starting an emulator.
    Raises as ``look_up``.
    """
    if rules_of(params).is_atari:
        return params.screen_size, params.screen_size, params.frame_stack
    return _observation_space(params.env_id).shape or ()  # never (), which `check` refuses


def _gymnasium_id(env_id: str) -> str:
    try:
        spec(env_id)
    except EnvironmentFailed as error:
        if not error.refused:
            raise
        raise UnknownGame(f"{env_id} cannot be found: {error.reason}") from error
    return env_id


def nearest(env_id: str) -> str:
    """Return a message that names the ids nearest to one that does not exist."""
    if factories.is_factory(env_id):
        return (
            f"{env_id} was given as a function; give the same one again, from Python: "
            f"ppo.load(RUN, env={factories.factory_name(env_id)}), or ppo.train.resume and fork"
        )
    title = AROUND_TITLE.sub("", env_id)
    if roms.is_for_several(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", title).lower()):
        return f"{env_id} cannot be played: the game is for several players, ale-py has one"
    ids = near_ids(env_id)
    hint = f"did you mean {', '.join(ids)}?" if ids else "try PongNoFrameskip-v4"
    return f"there is no game {env_id!r}; {hint}"


# The defaults for vector observations; the others suit Atari games.
FLAT: dict[str, Any] = {
    "network": "mlp",
    "num_envs": 8,
    "total_steps": 100_000,
    "num_epochs": 10,
    "num_minibatches": 16,
    "learning_rate": 3e-4,
    "entropy_coef": 0.0,
}

# On top of them, for episodes of LONG_EPISODE steps or more: rewards may come far later.
LONG_EPISODE = 1000
LONG: dict[str, Any] = {
    "total_steps": 1_000_000,
    "num_steps": 1024,
    "num_minibatches": 128,
    "gamma": 0.999,
    "gae_lambda": 0.98,
}


def settings_for(env_id: str) -> dict[str, Any]:
    """Return the default settings of a game given only by its id: FLAT for vector observations,
    with LONG if the environment has such a time limit.
    """
    usual: dict[str, Any] = {"env_id": env_id}
    try:
        game, _ = look_up(env_id)
        if roms.is_rom(game):
            return usual
        with closing(ForeignEnv(env_id)) as environment:  # a function's limit is in its environment
            limit = (environment.spec or spec(env_id)).max_episode_steps or 0
        if len(environment.observation_space.shape or ()) != 1:
            return usual
    except Exception:  # `check` reports it
        return usual
    return usual | FLAT | (LONG if limit >= LONG_EPISODE else {})


def _observation_space(env_id: str) -> gymnasium.Space:
    """Return the observation space of an environment. Raises EnvironmentFailed."""
    with closing(ForeignEnv(env_id)) as environment:
        return environment.observation_space
