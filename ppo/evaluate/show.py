"""Evaluations of a trained run: ``--evaluate``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ppo.checkpoint import Which
from ppo.evaluate.evaluate import Evaluation
from ppo.evaluate.games import POLICIES, Played, games_of
from ppo.files import evaluations
from ppo.files.folder import READ_ONLY, RunFolder
from ppo.files.held import with_names
from ppo.system import tables
from ppo.system.streams import say

if TYPE_CHECKING:
    from ppo.policy import Choice

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


def evaluate_run(
    logdir: Path,
    num_games: int,
    policies: Sequence["Choice"] = POLICIES["both"],
    which: Which = "newest",
    seed: int | None = None,
) -> list[Evaluation]:
    """Play whole games with each policy, save each game as a replay and print the scores. Add a
    line for each policy to ``evaluations.jsonl``. In a read-only folder nothing is saved. The run
    may be in progress.

    The same checkpoint, number of games and ``seed`` give the same games. Without a seed one is
    chosen at random. Raises FolderError, ParamsError or CheckpointError.
    """
    evaluations.check(RunFolder(logdir))
    progress = Console(stderr=True)
    with games_of(logdir, num_games, policies, which, seed, progress) as (folder, games):
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
    console, body = Console(), rows(records)
    choices = [record["policy"] for record in records]
    if len(examples) == len(records) and not console.is_terminal:
        for name in examples[0]:
            body.append([f"{name} replay", *(str(replays / files[name]) for files in examples)])
        examples = []
    tables.show_table([env_id, *choices], body, console)
    for choice, files in zip(choices, examples, strict=False):
        # Of each long file name, the number of the game.
        games = (f"{name} {re.findall(r'game-[0-9]+', file)[0]}" for name, file in files.items())
        say(f"{choice}: {', '.join(games)}")
    if examples:
        say(f"replays: {replays}")


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """Return rows of a quantity's name and its value in each evaluation."""
    forms = ROWS | (HUMAN_ROW if "human_normalized" in records[0] else {})
    return [
        [name, *(form.format(games=len(record["scores"]), **record) for record in records)]
        for name, form in forms.items()
    ]
