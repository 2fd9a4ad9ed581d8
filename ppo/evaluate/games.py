"""Play whole games with a trained agent and keep them as replays, for evaluations and videos."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ppo.checkpoint import Which
from ppo.evaluate.agent import TrainedAgent, load_agent
from ppo.evaluate.evaluate import Evaluation, evaluate_each
from ppo.evaluate.progress import progress
from ppo.files.folder import RunFolder, check_run, visited
from ppo.replay.replay import Replay, of_run, save

if TYPE_CHECKING:
    from ppo.policy import Choice

# Keyed by the names on the command line.
POLICIES: dict[str, tuple["Choice", ...]] = {
    "sampled": ("sampled",),
    "greedy": ("greedy",),
    "both": ("sampled", "greedy"),
}

STEPS_A_LINE = 5000  # steps between two lines of progress


@dataclass(frozen=True)
class Played:
    """Games of an agent. The agent's settings contain the seed of these games."""

    agent: TrainedAgent
    evaluation: Evaluation

    @property
    def name(self) -> str:
        """Name that distinguishes these games from others of the run."""
        step, seed, choice = self.agent.step, self.agent.params.seed, self.agent.policy.choice
        return f"step-{step:012d}-{choice}-seed-{seed}-of-{len(self.evaluation.episodes)}"

    def save(self, folder: RunFolder, kind: str) -> list[tuple[Path, Replay]]:
        """Save each game as a replay. Return the paths and the replays."""
        folder.replays.mkdir(exist_ok=True)
        agent, saved = self.agent, []
        for number, episode in enumerate(self.evaluation.episodes, 1):
            replay = of_run(episode, agent.params, step=agent.step, policy=agent.policy.choice)
            name = f"{kind}-{self.name}-game-{number:03d}-{replay.score_name}"
            path = folder.replays / f"{name}.json"
            save(path, replay)
            saved.append((path, replay))
        return saved


@contextmanager
def games_of(
    logdir: Path,
    num_games: int,
    policies: Sequence["Choice"],
    which: Which,
    seed: int | None,
    console: Console,
) -> Iterator[tuple[RunFolder, list[Played]]]:
    """Yield the run's folder, which is visited meanwhile, and games of each policy."""
    check_run(logdir)
    with visited(logdir) as folder:
        agent = load_agent(folder, which).for_games(seed)
        agents = [agent.choosing(choice) for choice in policies]
        games = f"{num_games} game{'s' * (num_games > 1)}"
        what = f"playing {games} of the {' and '.join(policies)} policy of step {agent.step:,}"
        with progress(what, "step {:,}", STEPS_A_LINE, console) as note:
            evaluations = evaluate_each(
                [agent.policy for agent in agents],
                agent.params,
                num_games,
                agent.step,
                watched=note,
            )
        yield folder, [Played(*both) for both in zip(agents, evaluations, strict=True)]
