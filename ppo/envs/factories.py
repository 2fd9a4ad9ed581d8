"""Environments given as a factory: a function, or a class, that returns a new environment.

A factory gets an id of Gymnasium's registry, under which the rest of the package finds it. The id
is known in this process only, so a later process must give the same factory again. If a process has
several functions of one name, their ids are numbered, so the id may differ between processes.
"""

import functools
import itertools
import keyword
import re
from collections.abc import Callable

import gymnasium

from ppo.errors import Refused

NAMESPACE = "factory/"
Factory = Callable[..., gymnasium.Env]


def id_of(env: str | Factory) -> str:
    """Return the id of an environment. A factory is registered once, under a name of its own.
    Raises TypeError for anything else.
    """
    if isinstance(env, str):
        return env
    if not callable(env):
        raise TypeError(f"env must be an id, or a function that returns an environment: {env!r}")
    name = re.sub(r"\W", "", str(getattr(env, "__name__", type(env).__name__)))
    known, ends = gymnasium.registry, itertools.chain([""], map("-{}".format, itertools.count(1)))
    ids = (f"{NAMESPACE}{name}{end}-v0" for end in ends)
    env_id = next(
        i
        for i in ids
        if i not in known or getattr(known[i].entry_point, "__wrapped__", None) == env
    )
    if env_id not in known:  # Gymnasium copies entries deeply, except functions
        entry = functools.wraps(env, ["metadata"], [])(lambda **options: env(**options))
        gymnasium.register(env_id, entry)
    return env_id


def given_again(factory: Factory | None, env_id: str) -> list[str]:
    """Return the override that lets an existing run use its factory, if there is one. Raises
    Refused if the run had none.
    """
    if factory is None:
        return []
    if not is_factory(env_id):
        raise Refused(f"the run was started with the environment {env_id}; leave env out")
    return [f"env_id={id_of(factory)}"]


def is_factory(env_id: object) -> bool:
    """Whether a setting ``env_id`` is the id of a factory."""
    return str(env_id).startswith(NAMESPACE)


def factory_name(env_id: str) -> str:
    """Return the name in a factory's id: Walk in factory/Walk-v0, FUNCTION for a lambda, or ""."""
    match = re.fullmatch(rf"{NAMESPACE}(\w+)(-\d+)?-v0", env_id)
    name = match[1] if match else ""
    return "FUNCTION" if keyword.iskeyword(name) else name
