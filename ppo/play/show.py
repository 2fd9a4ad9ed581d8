"""Evaluations and videos of a trained run: ``--evaluate`` and ``--watch``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ppo import checkpoint, params
from ppo.envs import catalog
from ppo.envs.episode import Rules
from ppo.files.folder import READ_ONLY, FolderError, RunFolder, check_run, owned
from ppo.params import ResolvedParams
from ppo.play.evaluate import Evaluation, evaluate, store
from ppo.play.replay import Replay, of_run, record, save
from ppo.process.device import shards, start_tensorflow
from ppo.resolve import resolved

if TYPE_CHECKING:
    from ppo.policy import Policy


@dataclass(frozen=True)
class TrainedAgent:
    """The policy of a run's newest valid checkpoint."""

    params: ResolvedParams
    step: int
    policy: "Policy"

    @property
    def rules(self) -> Rules:
        """The rules of its game."""
        return catalog.rules_of(self.params)


def settings_of(folder: RunFolder) -> ResolvedParams:
    """The settings of a run. Raises HoldsNoRun or ParamsError."""
    check_run(folder.path)
    return resolved(params.load(folder.params, checks=[catalog.check]))


def load_agent(folder: RunFolder) -> TrainedAgent:
    """The trained agent of a run. Raises ParamsError or CheckpointError."""
    settings = settings_of(folder)
    start_tensorflow(settings.threads)

    from ppo import policy

    saved = checkpoint.newest(folder, warn=print)
    shape, weights = catalog.observation_shape(settings), saved.group("weights")
    try:
        agent = policy.of_weights(shape, settings, weights, shards(settings.threads))
    except ValueError as error:
        raise checkpoint.MisfitError(saved.step, error) from error
    return TrainedAgent(settings, saved.step, agent)


def evaluate_run(logdir: Path, num_games: int) -> Evaluation:
    """Play whole games, keep each as a replay, print the scores, and add a line to
    ``evaluations.jsonl``. In a folder that may only be read, nothing is kept."""
    with _games_of(logdir, num_games, read_only=True) as (folder, agent, evaluation):
        try:
            _save_replays(folder, agent, evaluation, f"evaluation-of-{num_games}")
            store(folder, evaluation, agent.params, agent.policy, agent.step)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            print(f"the evaluation is not stored: {logdir} cannot be written ({error.strerror})")
        finally:
            _print(agent, evaluation)
    return evaluation


def watch_run(logdir: Path, num_games: int) -> list[Path]:
    """Play whole games and make a video of each; prints where they are. Raises FolderError for a
    run of a game outside Atari.
    """
    settings = settings_of(RunFolder(logdir))
    if not catalog.rules_of(settings).is_atari:
        raise FolderError(f"{settings.env_id} has no screen to record; evaluate it")
    with _games_of(logdir, num_games) as (folder, agent, evaluation):
        videos = []
        folder.videos.mkdir(exist_ok=True)
        for path, game in _save_replays(folder, agent, evaluation, "watched"):
            videos.append(folder.videos / f"{path.stem}.mp4")
            record(game, videos[-1])
            print(f"score {game.score:g} in {game.steps} steps: {videos[-1]}")
    return videos


@contextmanager
def _games_of(
    logdir: Path, num_games: int, read_only: bool = False
) -> Iterator[tuple[RunFolder, TrainedAgent, Evaluation]]:
    """The run's folder, locked while the context lasts, its agent, and the agent's games."""
    check_run(logdir)
    with owned(logdir, read_only) as folder:
        agent = load_agent(folder)
        yield folder, agent, evaluate(agent.policy, agent.params, num_games, agent.step)


def _save_replays(
    folder: RunFolder, agent: TrainedAgent, evaluation: Evaluation, name: str
) -> list[tuple[Path, Replay]]:
    folder.replays.mkdir(exist_ok=True)
    saved = []
    for number, episode in enumerate(evaluation.episodes, 1):
        path = folder.replays / f"{name}-step-{agent.step:012d}-game-{number:03d}.json"
        replay = of_run(episode, agent.params, step=agent.step, policy=agent.policy.choice)
        save(path, replay)
        saved.append((path, replay))
    return saved


def _print(agent: TrainedAgent, evaluation: Evaluation) -> None:
    choice, step = agent.policy.choice, agent.step
    table = Table(title=f"{agent.params.env_id}, agent of step {step:,}, {choice} policy")
    for column in ("game", "score", "steps", "frames"):
        table.add_column(column, justify="right")
    for number, episode in enumerate(evaluation.episodes, 1):
        table.add_row(
            str(number), f"{episode.score:g}", f"{episode.steps:,}", f"{episode.frames:,}"
        )
    console = Console()
    console.print(table)
    low, high = evaluation.interval()
    console.print(f"mean {evaluation.mean:.2f}, 95 percent interval {low:.2f} to {high:.2f}")
