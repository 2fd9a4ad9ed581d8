"""Environments given as a factory: a function, or a class, that returns a new environment.

A factory gets an id of Gymnasium's registry, under which the rest of the package finds it. The id
is known in this process only, so a later process must register the same factory again.
"""

import itertools
import keyword
import re
from collections.abc import Callable

import gymnasium

from ppo.errors import Refused

NAMESPACE = "factory/"
Factory = Callable[..., gymnasium.Env]


def id_of(env: str | Factory) -> str:
    """Return the id of an environment. A factory is first registered under a name of its own."""
    if isinstance(env, str):
        return env
    if not callable(env):
        raise TypeError(f"env must be an id, or a function that returns an environment: {env!r}")
    name = re.sub(r"\W", "", getattr(env, "__name__", type(env).__name__))
    ends = itertools.chain([""], (f"-{number}" for number in itertools.count(1)))
    numbered = (f"{NAMESPACE}{name}{end}-v0" for end in ends)
    known = gymnasium.registry
    free = (one for one in numbered if one not in known or known[one].entry_point == env)
    return _register(env, next(free))


def register_again(factory: Factory | None, env_id: str) -> None:
    """Register the factory, if there is one, of an existing run. Raises Refused if it had none."""
    if factory is None:
        return
    if not env_id.startswith(NAMESPACE):
        raise Refused(f"the run was started with the environment {env_id}; leave env out")
    _register(factory, env_id)


def factory_name(env_id: str) -> str:
    """Return the name in a factory's id: Walk in factory/Walk-v0, FUNCTION for a lambda, or ""."""
    match = re.fullmatch(rf"{NAMESPACE}(\w+)(-\d+)?-v0", env_id)
    name = match[1] if match else ""
    return "FUNCTION" if keyword.iskeyword(name) else name


def _register(factory: Factory, env_id: str) -> str:
    gymnasium.registry.pop(env_id, None)  # otherwise Gymnasium warns
    gymnasium.register(env_id, factory)
    return env_id
