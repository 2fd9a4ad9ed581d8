"""The reference work of the benchmarks: benchmarks/reference.json, and a batch of its size."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppo import params
from ppo.envs.resolve import resolved
from ppo.settings import Params, ResolvedParams

if TYPE_CHECKING:
    from ppo.objective import Batch

NUM_ACTIONS = 6  # of Pong


def reference(overrides: Sequence[str] = ()) -> ResolvedParams:
    """Its settings, with ``KEY=VALUE`` changes."""
    return resolved(params.load(Path(__file__).with_name("reference.json"), overrides))


def observation_shape(settings: Params) -> tuple[int, int, int]:
    """Of one env."""
    return settings.screen_size, settings.screen_size, settings.frame_stack


def random_batch(settings: Params) -> "Batch":
    """A batch as a rollout would give it, of random numbers."""
    from ppo.objective import Batch

    rng, shape = np.random.default_rng(0), (settings.num_steps, settings.num_envs)
    pixels = rng.integers(0, 256, (*shape, *observation_shape(settings))).astype(np.uint8)
    actions = rng.integers(0, NUM_ACTIONS, shape).astype(np.int32)
    log_probs = np.full(shape, -np.log(NUM_ACTIONS), np.float32)
    floats = rng.normal(size=(3, *shape)).astype(np.float32)
    return Batch.of_rollout(pixels, actions, log_probs, *floats)
