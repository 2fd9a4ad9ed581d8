"""Resolving open settings, once, when a run begins."""

import secrets

from ppo.envs import registry, roms
from ppo.settings import SEEDS, Params, ResolvedParams
from ppo.system.device import (
    default_threads,
    has_gpu,
    has_gpu_driver,
    processor_has_bfloat16,
    visible_gpus,
)


def resolved(params: Params, processes: int = 1) -> ResolvedParams:
    """Return the settings with every open value chosen; ``processes`` share the cores. Open
    precision becomes bfloat16 for images, if the processor computes in it and there is no GPU.
    Otherwise it becomes float32. Open clip_rewards becomes true only in Atari games. Raises
    UnknownGame.
    """
    game, sticky = registry.look_up(params.env_id)
    fast = params.sees_images and processor_has_bfloat16() and not has_gpu_driver()
    precision = "bfloat16" if fast else "float32"
    seed, threads = secrets.randbelow(SEEDS), default_threads(processes)
    return params.resolved(seed, threads, sticky, precision, clip_rewards=roms.is_rom(game))


def precision_remark(params: ResolvedParams) -> str | None:
    """Return a message if this machine emulates the precision of the run, begun elsewhere."""
    if params.precision == "float32" or processor_has_bfloat16() or has_gpu_driver():
        return None
    return (
        "this processor emulates bfloat16, which is slow and gives different bits; use --set "
        "precision=float32 in a new run or a fork"
    )


def gpu_remark() -> str | None:
    """Return a message if there is a GPU that TensorFlow, already started, does not find."""
    if not (has_gpu_driver() and visible_gpus()) or has_gpu():
        return None
    return (
        "this machine has an NVIDIA GPU that TensorFlow does not find, so the run computes on the "
        "processor; install its libraries with: pip install 'tensorflow[and-cuda]'"
    )
