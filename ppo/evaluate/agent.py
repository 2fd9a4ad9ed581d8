"""The trained agent of a run: the run's settings and the policy of one checkpoint."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ppo import checkpoint, params
from ppo.checkpoint import Which
from ppo.envs import registry
from ppo.envs.episode import Rules
from ppo.envs.resolve import resolved
from ppo.files.folder import RunFolder, check_run
from ppo.files.held import shown
from ppo.settings import ResolvedParams
from ppo.system.device import shards, start_tensorflow

if TYPE_CHECKING:
    from ppo.policy import Choice, Policy


@dataclass(frozen=True)
class TrainedAgent:
    """The policy of a run's checkpoint."""

    params: ResolvedParams
    step: int
    policy: "Policy"

    @property
    def rules(self) -> Rules:
        """Return the rules of the agent's game."""
        return registry.rules_of(self.params)

    def choosing(self, choice: "Choice") -> "TrainedAgent":
        """Return the same agent with another way of choosing actions."""
        return replace(self, policy=self.policy.choosing(choice))


def settings_of(folder: RunFolder) -> ResolvedParams:
    """Return the settings of a run. Raises HoldsNoRun or ParamsError."""
    check_run(folder.path)
    return resolved(params.of_run(folder.params, checks=[registry.check]))


def load_agent(folder: RunFolder, which: Which = "newest") -> TrainedAgent:
    """Load the trained agent of a run, which may be in progress. The policy is sampled. Raises
    ParamsError or CheckpointError.
    """
    settings = settings_of(folder)
    saved = checkpoint.chosen(folder, which, warn=lambda said: print(shown(said)))
    start_tensorflow(settings.threads)

    from ppo import policy

    shape, weights = registry.observation_shape(settings), saved.group("weights")
    try:
        agent = policy.of_weights(shape, settings, weights, shards(settings.threads))
    except ValueError as error:
        raise checkpoint.MisfitError(saved.step, error) from error
    return TrainedAgent(settings, saved.step, agent)
