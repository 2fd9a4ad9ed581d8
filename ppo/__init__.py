"""Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347) for Atari games.

``ppo.params`` reads settings, ``ppo.train`` trains, and ``ppo.load`` returns a trained agent. Each
is imported when it is first used, and TensorFlow only when a run starts or an agent is loaded.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppo import params, train
    from ppo.evaluate.agent import load

__version__ = "0.1.0"
__all__ = ["load", "params", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ppo' has no attribute {name!r}")
    if name == "load":
        return importlib.import_module("ppo.evaluate.agent").load
    return importlib.import_module(f"ppo.{name}")
