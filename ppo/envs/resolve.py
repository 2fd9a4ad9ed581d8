"""Resolving open settings, once, when a run begins."""

import secrets

from ppo.envs import registry, roms
from ppo.settings import SEEDS, Params, ResolvedParams
from ppo.system import device


def resolved(params: Params, processes: int = 1) -> ResolvedParams:
    """Return the settings with every open value chosen; ``processes`` share the cores. Open
    precision becomes bfloat16 for images, if that is faster here and there is no GPU.
    Otherwise it becomes float32. Open clip_rewards becomes true only in Atari games. Raises
    UnknownGame.
    """
    game, sticky = registry.look_up(params.env_id)
    fast = params.sees_images and device.bfloat16_is_faster() and not device.has_gpu_driver()
    precision = "bfloat16" if fast else "float32"
    seed, threads = secrets.randbelow(SEEDS), device.default_threads(processes)
    return params.resolved(seed, threads, sticky, precision, clip_rewards=roms.is_rom(game))
