"""Play whole games with a trained agent and keep them as replays, for evaluations and videos."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from ppo.checkpoint import Which
from ppo.envs.episode import Episode
from ppo.evaluate.agent import TrainedAgent, load_agent
from ppo.evaluate.evaluate import Evaluation, evaluate_each
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
TERMINAL_EVERY = 60  # steps between two changes of the line on a terminal


@dataclass(frozen=True)
class Played:
    """Games of an agent. The agent's settings contain the seed of these games."""

    agent: TrainedAgent
    evaluation: Evaluation

    def record(self) -> dict[str, Any]:
        """Return what is stored about the games."""
        return self.evaluation.record(self.agent.params, self.agent.policy, self.agent.step)

    def save(self, folder: RunFolder, kind: str) -> list[tuple[Path, Replay, Episode]]:
        """Save each game as a replay. Return the paths, the replays and the episodes."""
        folder.replays.mkdir(exist_ok=True)
        agent, episodes, saved = self.agent, self.evaluation.episodes, []
        step, seed, choice = agent.step, agent.params.seed, agent.policy.choice
        games = f"{kind}-step-{step:012d}-{choice}-seed-{seed}-of-{len(episodes)}"
        for number, episode in enumerate(episodes, 1):
            replay = of_run(episode, agent.params, step=step, policy=choice)
            path = folder.replays / f"{games}-game-{number:03d}-{replay.score_name}.json"
            save(path, replay)
            saved.append((path, replay, episode))
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
            chosen = [agent.policy for agent in agents]
            evaluations = evaluate_each(chosen, agent.params, num_games, agent.step, watched=note)
        yield folder, [Played(*both) for both in zip(agents, evaluations, strict=True)]


@contextmanager
def progress(
    what: str, count: str, every: int, console: Console
) -> Iterator[Callable[[int], None]]:
    """Show an activity and its progress while the context lasts. ``count`` is the format of the
    number passed to each call. A terminal shows one line that changes. A pipe or a file gets a line
    at the start and one at each multiple of ``every``; on stderr it gets none.
    """
    if console.is_terminal:
        with console.status(Text(what)) as status:

            def show(number: int) -> None:
                if number % TERMINAL_EVERY == 0:
                    status.update(Text(f"{what}: {count.format(number)}"))

            yield show
        return

    def say(line: str) -> None:
        if not console.stderr:
            print(line, file=console.file, flush=True)

    def write(number: int) -> None:
        if number % every == 0:
            say(f"{what}: {count.format(number)}")

    say(what)
    yield write
