"""The reference work of the benchmarks: benchmarks/reference.json."""

from collections.abc import Sequence
from pathlib import Path

from ppo import params
from ppo.envs.resolve import resolved
from ppo.settings import ResolvedParams


def reference(overrides: Sequence[str] = ()) -> ResolvedParams:
    """Its settings, with ``KEY=VALUE`` changes."""
    return resolved(params.load(Path(__file__).with_name("reference.json"), overrides))
