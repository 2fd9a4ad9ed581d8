"""Play whole games with a trained agent, keep them as replays and print scores: ``--evaluate``."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ppo.checkpoint import Which
from ppo.envs.episode import Episode
from ppo.envs.registry import rules_of
from ppo.evaluate.agent import TrainedAgent, load
from ppo.evaluate.evaluate import Evaluation, evaluate_each
from ppo.files import evaluations
from ppo.files.folder import RunFolder, check_run
from ppo.files.held import with_names
from ppo.files.lock import READ_ONLY, visited
from ppo.replay.replay import Replay, save
from ppo.settings.fields import CHOICES, Choice
from ppo.system import tables
from ppo.system.streams import counted, say

STEPS_A_LINE = 5000  # steps between two lines of progress
TERMINAL_EVERY = 60  # steps between two changes of the line on a terminal

# The rows of the table, and how each is written from a record of an evaluation.
ROWS = {
    "step of the checkpoint": "{step:,}",
    "seed of the games": "{seed}",
    "games": "{games}",
    "mean score": "{mean:.2f}",
    "95 percent interval, low": "{low:.2f}",
    "95 percent interval, high": "{high:.2f}",
    "median score": "{median:.10g}",
    "best score": "{best:.10g}",
    "worst score": "{worst:.10g}",
    "mean length in steps": "{mean_length:.0f}",
    "ended by the time limit": "{time_limited} of {games}",
}
HUMAN_ROW = {"human-normalized score": "{human_normalized:.2f}"}


@dataclass(frozen=True)
class Played:
    """Games of an agent. The agent's settings contain the seed of these games."""

    agent: TrainedAgent
    evaluation: Evaluation

    def record(self) -> dict[str, Any]:
        return self.evaluation.record(self.agent.params, self.agent.policy, self.agent.step)

    def save(self, folder: RunFolder, kind: str) -> list[tuple[Path, Replay, Episode]]:
        """Save each game as a replay. Return the paths, the replays and the episodes."""
        folder.replays.mkdir(exist_ok=True)
        agent, episodes, saved = self.agent, self.evaluation.episodes, []
        step, seed, choice = agent.step, agent.params.seed, agent.policy.choice
        rules = rules_of(agent.params)
        games = f"{kind}-step-{step:012d}-{choice}-seed-{seed}-of-{len(episodes)}"
        for number, episode in enumerate(episodes, 1):
            replay = Replay.from_episode(episode, rules, step=step, policy=choice)
            path = folder.replays / f"{games}-game-{number:03d}-{replay.score_name}.json"
            save(path, replay)
            saved.append((path, replay, episode))
        return saved


@contextmanager
def games_of(
    logdir: Path,
    num_games: int,
    policies: Sequence[Choice],
    which: Which,
    seed: int | None,
    console: Console,
) -> Iterator[tuple[RunFolder, list[Played]]]:
    """Visit the run's folder. Yield the folder and games of each policy."""
    check_run(logdir)
    with visited(logdir) as folder:
        agent = load(folder.path, which).for_games(seed)
        agents = [agent.choosing(choice) for choice in policies]
        games = counted(num_games, "game")
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
    at the start and one at each multiple of ``every``; on stderr it gets nothing.
    """
    status = console.status(Text(what))

    def show(line: str) -> None:
        if console.is_terminal:
            status.update(Text(line))
        elif not console.stderr:
            print(line, file=console.file, flush=True)

    def note(number: int) -> None:
        if number % (TERMINAL_EVERY if console.is_terminal else every) == 0:
            show(f"{what}: {count.format(number)}")

    with status if console.is_terminal else nullcontext():
        show(what)
        yield note


def evaluate_run(
    logdir: Path,
    num_games: int,
    policies: Sequence[Choice] = CHOICES,
    which: Which = "newest",
    seed: int | None = None,
) -> list[Evaluation]:
    """Play whole games with each policy, save each game as a replay and print the scores. Add a
    line for each policy to ``evaluations.jsonl``. In a read-only folder nothing is saved. The run
    may be in progress.

    The same checkpoint, number of games and ``seed`` give the same games. Without a seed one is
    chosen at random. Raises FolderError, ParamsError or CheckpointError.
    """
    check_run(logdir)
    evaluations.read(RunFolder(logdir))  # refuses a file that cannot be read
    console = tables.console_of(stderr=True)
    with games_of(logdir, num_games, policies, which, seed, console) as (folder, games):
        records = [played.record() for played in games]
        examples: list[dict[str, str]] = []
        try:
            examples += [_keep(folder, *both) for both in zip(games, records, strict=True)]
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            print(f"the evaluation is not stored: {logdir} cannot be written ({error.strerror})")
        finally:
            _print(
                games[0].agent.params.env_id, records, examples, Path(with_names(folder.replays))
            )
    return [played.evaluation for played in games]


def _keep(folder: RunFolder, played: Played, record: dict[str, Any]) -> dict[str, str]:
    """Save the games. Return the file names of the best, the median and the worst one."""
    saved = played.save(folder, "evaluation")
    examples = {name: saved[n][0].name for name, n in played.evaluation.examples().items()}
    evaluations.add(folder, record | {"replays": examples})
    return examples


def _print(
    env_id: str, records: list[dict[str, Any]], examples: list[dict[str, str]], replays: Path
) -> None:
    """Print a table of the evaluations. In a pipe or file it has rows for the replays of their
    ``examples``. A terminal is too narrow for their names: there they are below the table.
    """
    console, body = tables.console_of(), rows(records)
    choices = [record["policy"] for record in records]
    if len(examples) == len(records) and not console.is_terminal:
        for name in examples[0]:
            body.append([f"{name} replay", *(str(replays / files[name]) for files in examples)])
        examples = []
    tables.show_table([env_id, *choices], body, console)
    for choice, files in zip(choices, examples, strict=False):
        # A file name is long, so only the number of its game is shown.
        games = (f"{name} {re.findall(r'game-[0-9]+', file)[0]}" for name, file in files.items())
        say(f"{choice}: {', '.join(games)}")
    if examples:
        say(f"replays: {replays}")


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """Return rows of a quantity's name and its value in each evaluation."""
    forms = ROWS | (HUMAN_ROW if "human_normalized" in records[0] else {})
    return [[name, *(_cell(name, form, one) for one in records)] for name, form in forms.items()]


def _cell(name: str, form: str, record: dict[str, Any]) -> str:
    """Return a quantity of an evaluation. The mean of equal scores has no interval."""
    if "interval" in name and not evaluations.interval(record):
        return "-"
    return form.format(games=len(record["scores"]), **record)
