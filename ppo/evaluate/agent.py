"""The trained agent of a run: the run's settings and the policy of one checkpoint."""

import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ppo import checkpoint, params
from ppo.checkpoint import Which, is_whole
from ppo.envs import checks, factories, registry
from ppo.envs.factories import Factory
from ppo.envs.registry import resolved
from ppo.evaluate.evaluate import Evaluation, evaluate
from ppo.files.folder import RunFolder, check_run
from ppo.files.held import with_names
from ppo.settings import ResolvedParams, limits
from ppo.settings.fields import SEEDS, Choice
from ppo.system.arguments import expanded
from ppo.system.device import shards
from ppo.system.keys import Purpose, key
from ppo.system.tensorflow_start import start_tensorflow

if TYPE_CHECKING:
    from ppo.policy import Policy


@dataclass(frozen=True)
class TrainedAgent:
    """The policy of a run's checkpoint."""

    params: ResolvedParams
    step: int
    policy: "Policy"
    _calls: Iterator[int] = field(default_factory=itertools.count, init=False, repr=False)

    def choosing(self, choice: Choice) -> "TrainedAgent":
        """Return the same agent with another way of choosing actions."""
        return replace(self, policy=self.policy.choosing(choice))

    def for_games(self, seed: int | None) -> "TrainedAgent":
        """Return the same agent to play the games of ``seed``; None chooses a new seed. The run's
        seed gives the games of the run's own evaluation.
        """
        seed = secrets.randbelow(10**6) if seed is None else seed
        return replace(self, params=self.params.model_copy(update={"seed": seed}))

    def predict(
        self,
        observations: ArrayLike,
        state: Any = None,
        episode_start: ArrayLike | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return an action for an observation, or actions [n] for a batch [n, ...], as
        Stable-Baselines3 does. They are sampled, or with ``deterministic`` the most probable. The
        same calls sample the same actions after the agent is loaded again.

        Images are bytes, channels-last or channels-first. The policy has no state: ``state`` is
        returned as it is, and ``episode_start`` is ignored. Raises ValueError for observations
        that do not fit.
        """
        batch, sizes = self._batch(np.asarray(observations))
        policy = self._greedy if deterministic else self.policy
        draw = key(self.params.seed, Purpose.PREDICTION, next(self._calls))
        return policy.act(batch, draw).actions.astype(np.int64).reshape(sizes), state

    def evaluate(
        self, games: int = 10, deterministic: bool = False, seed: int | None = None
    ) -> Evaluation:
        """Play whole games under the rules of the training. Return them with their ``scores`` and
        the ``mean``. The games of a ``seed`` are always the same; without one they are new.
        """
        _check("games", games, **limits("evaluation_games"))
        if seed is not None:
            _check("seed", seed, 0, SEEDS - 1)
        policy = self._greedy if deterministic else self.policy
        return evaluate(policy, self.for_games(seed).params, games, self.step)

    @cached_property
    def _greedy(self) -> "Policy":
        return self.policy.choosing("greedy")

    def _batch(self, given: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return observations [n, ...] for the network, and the sizes of the batch, () for one."""
        (taken,) = self.policy.network.inputs
        shape = tuple(taken.shape[1:])
        if len(shape) == 3 and given.shape[-3:] == (shape[2], *shape[:2]) != shape:
            given = np.moveaxis(given, -3, -1)
        sizes = given.shape[: max(0, given.ndim - len(shape))]
        fits = np.can_cast(given.dtype, taken.dtype, "same_kind")
        if given.shape != (*sizes, *shape) or not (fits and given.size):
            raise ValueError(
                f"the network takes {taken.dtype} observations of shape {shape}, one or a batch; "
                f"these are {given.dtype} of shape {given.shape}"
            )
        return given.astype(taken.dtype).reshape(-1, *shape), sizes


def _check(name: str, value: int, ge: int, le: int) -> None:
    if not (is_whole(value) and ge <= value <= le):
        raise ValueError(f"{name} must be a whole number from {ge} to {le}, not {value!r}")


def settings_of(folder: RunFolder, env: Factory | None = None) -> ResolvedParams:
    """Return the settings of a run, with ``env`` as in ``load``. Raises Refused, FolderError,
    ParamsError or EnvironmentFailed.
    """
    check_run(folder.path)
    factory = factories.given_again(env, params.load_run(folder.params).env_id)
    return resolved(params.load_run(folder.params, factory, [checks.check_again(env)]))


def load(logdir: str | Path, which: Which = "newest", env: Factory | None = None) -> TrainedAgent:
    """Load the trained agent of a run, which may be in progress: its ``newest`` checkpoint, its
    ``best``, or a step's. Its policy samples actions. ``env`` is the function that the run was
    started with, if there was one.

    Raises Refused for an ``env`` of a run that had none, FolderError, ParamsError, CheckpointError
    or EnvironmentFailed.
    """
    folder = RunFolder(expanded(logdir))
    settings = settings_of(folder, env)
    saved = checkpoint.chosen(folder, which, warn=lambda warning: print(with_names(warning)))
    start_tensorflow(settings.threads)

    from ppo import policy

    shape, weights = registry.observation_shape(settings), saved.group("weights")
    try:
        agent = policy.policy_of(shape, settings, weights, shards(settings.threads))
    except ValueError as error:
        raise checkpoint.MisfitError(saved.step, error) from error
    return TrainedAgent(settings, saved.step, agent)
