"""Evaluations of a trained run: ``--evaluate``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ppo.checkpoint import Which
from ppo.evaluate import summary
from ppo.evaluate.evaluate import Evaluation
from ppo.evaluate.games import POLICIES, Played, games_of
from ppo.files import evaluations
from ppo.files.folder import READ_ONLY, RunFolder
from ppo.files.held import with_names
from ppo.system import tables
from ppo.system.streams import say

if TYPE_CHECKING:
    from ppo.policy import Choice


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
        examples: list[dict[str, str]] = []
        try:
            examples += [_keep(folder, played) for played in games]
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            print(f"the evaluation is not stored: {logdir} cannot be written ({error.strerror})")
        finally:
            _print(folder, games, examples)
    return [played.evaluation for played in games]


def _keep(folder: RunFolder, played: Played) -> dict[str, str]:
    """Save the games. Return the file names of the best, the median and the worst one."""
    agent, saved = played.agent, played.save(folder, "evaluation")
    examples = {name: saved[n][0].name for name, n in played.evaluation.examples().items()}
    record = played.evaluation.record(agent.params, agent.policy, agent.step)
    evaluations.add(folder, record | {"replays": examples})
    return examples


def _print(folder: RunFolder, games: list[Played], examples: list[dict[str, str]]) -> None:
    """Print a table of the evaluations, with the replays of their ``examples``. In a pipe or file
    the replays are rows of the table. On a terminal, which is too narrow for their names, they are
    below it.
    """
    replays = Path(with_names(folder.replays))
    params, step, console = games[0].agent.params, games[0].agent.step, Console()
    choices = [played.agent.policy.choice for played in games]
    body = [
        ["step of the checkpoint", *[f"{step:,}"] * len(games)],
        ["seed of the games", *[str(params.seed)] * len(games)],
        *summary.rows([played.evaluation for played in games], params),
    ]
    if len(examples) == len(games) and not console.is_terminal:
        for name in examples[0]:
            paths = [str(replays / files[name]) for files in examples]
            body.append([f"{name} replay", *paths])
        examples = []
    tables.show_table([params.env_id, *choices], body, console)
    for choice, files in zip(choices, examples, strict=False):
        say(f"{choice}: {', '.join(_short(*item) for item in files.items())}")
    if examples:
        say(f"replays: {replays}")


def _short(name: str, file: str) -> str:
    """Return the number of a game, which its long file name contains."""
    game = re.search(r"game-\d+", file)
    return f"{name} {game[0] if game else file}"
