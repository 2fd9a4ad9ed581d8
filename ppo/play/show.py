"""Evaluations and videos of a trained run: ``--evaluate`` and ``--watch``."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ppo.checkpoint import Which
from ppo.envs import catalog
from ppo.files.folder import READ_ONLY, FolderError, RunFolder, check_run, visited
from ppo.play import summary
from ppo.play.agent import TrainedAgent, load_agent, settings_of
from ppo.play.evaluate import Evaluation, evaluate, store
from ppo.play.replay import Replay, of_run, record, save

if TYPE_CHECKING:
    from ppo.policy import Choice

# By the names of the command line.
POLICIES: dict[str, tuple["Choice", ...]] = {
    "sampled": ("sampled",),
    "greedy": ("greedy",),
    "both": ("sampled", "greedy"),
}

# So many games are played at once, or as many as in training if that is more.
GAMES_AT_ONCE = 16


@dataclass(frozen=True)
class Played:
    """Games of an agent, whose settings have the seed of these games."""

    agent: TrainedAgent
    evaluation: Evaluation

    @property
    def name(self) -> str:
        """What tells these games from others of the run."""
        step, seed, choice = self.agent.step, self.agent.params.seed, self.agent.policy.choice
        return f"step-{step:012d}-{choice}-seed-{seed}-of-{len(self.evaluation.episodes)}"

    def save(self, folder: RunFolder, kind: str) -> list[tuple[Path, Replay]]:
        """Keep each game as a replay; returns their paths with them."""
        folder.replays.mkdir(exist_ok=True)
        agent, saved = self.agent, []
        for number, episode in enumerate(self.evaluation.episodes, 1):
            path = folder.replays / f"{kind}-{self.name}-game-{number:03d}.json"
            replay = of_run(episode, agent.params, step=agent.step, policy=agent.policy.choice)
            save(path, replay)
            saved.append((path, replay))
        return saved


def evaluate_run(
    logdir: Path,
    num_games: int,
    policies: Sequence["Choice"] = POLICIES["both"],
    which: Which = "newest",
    seed: int | None = None,
) -> list[Evaluation]:
    """Play whole games with each policy, keep each game as a replay, print the scores, and add a
    line for each policy to ``evaluations.jsonl``. In a folder that may only be read, nothing is
    kept. The run may be in progress.

    The same checkpoint, number of games and ``seed`` give the same games; without a seed one is
    drawn. Raises FolderError, ParamsError or CheckpointError.
    """
    with _games_of(logdir, num_games, policies, which, seed) as (folder, games):
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


def watch_run(
    logdir: Path,
    num_games: int,
    policies: Sequence["Choice"] = POLICIES["sampled"],
    which: Which = "newest",
    seed: int | None = None,
) -> list[Path]:
    """Play whole games as ``evaluate_run`` does and make a video of each; prints where they are.
    Raises FolderError for a run of a game outside Atari.
    """
    settings = settings_of(RunFolder(logdir))
    if not catalog.rules_of(settings).is_atari:
        raise FolderError(f"{settings.env_id} has no screen to record; evaluate it")
    with _games_of(logdir, num_games, policies, which, seed) as (folder, games):
        videos = []
        folder.videos.mkdir(exist_ok=True)
        for path, game in [saved for played in games for saved in played.save(folder, "watched")]:
            videos.append(folder.videos / f"{path.stem}.mp4")
            record(game, videos[-1])
            print(f"score {game.score:g} in {game.steps} steps: {videos[-1]}")
    return videos


@contextmanager
def _games_of(
    logdir: Path, num_games: int, policies: Sequence["Choice"], which: Which, seed: int | None
) -> Iterator[tuple[RunFolder, list[Played]]]:
    """The run's folder, visited while the context lasts, and games of each policy."""
    check_run(logdir)
    with visited(logdir) as folder:
        agent = load_agent(folder, which)
        changes = {
            "seed": secrets.randbelow(10**6) if seed is None else seed,
            "num_envs": max(GAMES_AT_ONCE, agent.params.num_envs),
        }
        agent = replace(agent, params=agent.params.model_copy(update=changes))
        agents = [agent.choosing(choice) for choice in policies]
        yield folder, [Played(one, _evaluated(one, num_games)) for one in agents]


def _evaluated(agent: TrainedAgent, num_games: int) -> Evaluation:
    return evaluate(agent.policy, agent.params, num_games, agent.step)


def _keep(folder: RunFolder, played: Played) -> dict[str, str]:
    """Save and store the games; returns the file names of the best, the median, the worst one."""
    agent, saved = played.agent, played.save(folder, "evaluation")
    examples = {name: saved[n][0].name for name, n in played.evaluation.examples().items()}
    store(folder, played.evaluation, agent.params, agent.policy, agent.step, replays=examples)
    return examples


def _print(folder: RunFolder, games: list[Played], examples: list[dict[str, str]]) -> None:
    """A table of the evaluations, and the replays of their ``examples``: as rows of it where nobody
    looks, below it on a terminal, which has no room for their names side by side.
    """
    params, step, console = games[0].agent.params, games[0].agent.step, Console()
    choices = [played.agent.policy.choice for played in games]
    body = [
        ("step of the checkpoint", [f"{step:,}"] * len(games)),
        ("seed of the games", [str(params.seed)] * len(games)),
        *summary.rows([played.evaluation for played in games], params),
    ]
    if len(examples) == len(games) and not console.is_terminal:
        for name in examples[0]:
            paths = [str(folder.replays / files[name]) for files in examples]
            body.append((f"{name} replay", paths))
        examples = []
    summary.show([params.env_id, *choices], body, console)
    for choice, files in zip(choices, examples, strict=False):
        print(f"{choice}, in {folder.replays}:")
        for name, file in files.items():
            print(f"  {name:6}  {file}")
