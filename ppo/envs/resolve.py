"""Settings that were left open, resolved once, when a run begins."""

import secrets

from ppo.envs import registry, roms
from ppo.settings import Params, ResolvedParams
from ppo.system.device import (
    default_threads,
    has_gpu,
    has_gpu_driver,
    processor_has_bfloat16,
    visible_gpus,
)


def resolved(params: Params, processes: int = 1) -> ResolvedParams:
    """The settings with a seed drawn, the threads chosen by rule, and the sticky actions of the
    game's id, where they were null, and a precision that suits the processor where it was auto;
    ``processes`` share the cores. On a GPU auto is float32, since nothing else was tried there.
    Rewards are clipped in Atari games alone. Raises ``registry.UnknownGame``.
    """
    game, sticky = registry.resolve(params.env_id)
    fast = params.sees_pictures and processor_has_bfloat16() and not has_gpu_driver()
    precision = "bfloat16" if fast else "float32"
    seed, threads = secrets.randbelow(2**31), default_threads(processes)
    return params.resolved(seed, threads, sticky, precision, clip_rewards=roms.is_rom(game))


def precision_remark(params: ResolvedParams) -> str | None:
    """What to say of a precision that nothing here computes in, as of a run that began on another
    machine; None if there is nothing to say.
    """
    if params.precision == "float32" or processor_has_bfloat16() or has_gpu_driver():
        return None
    return (
        "this processor only emulates bfloat16, slower than float32 and with other bits than one "
        "that computes in it; a new run, or a fork, can have --set precision=float32"
    )


def gpu_remark() -> str | None:
    """What to say where a run could use a GPU, and TensorFlow, which has been started, finds none;
    None if there is nothing to say.
    """
    if not (has_gpu_driver() and visible_gpus()) or has_gpu():
        return None
    return (
        "this machine has an NVIDIA GPU that TensorFlow does not find, so the run computes on the "
        "processor; pip install 'tensorflow[and-cuda]' brings what it needs"
    )
