"""Settings that were left open, resolved once, when a run begins."""

import secrets

from ppo.envs import catalog
from ppo.params import Params, ResolvedParams
from ppo.process.device import default_threads


def resolved(params: Params, processes: int = 1) -> ResolvedParams:
    """The settings with a seed drawn, the threads chosen by rule, and the sticky actions of the
    game's id, where they were null; ``processes`` share the cores. Raises ``catalog.UnknownGame``.
    """
    _, sticky = catalog.resolve(params.env_id)
    return params.resolved(secrets.randbelow(2**31), default_threads(processes), sticky)
