"""A trained agent on show: evaluations and videos of a run that is already there."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ppo import checkpoint, model
from ppo.evaluate import Evaluation, evaluate, store
from ppo.folder import RunFolder, owned
from ppo.games import GameVector, Rules
from ppo.games import check as check_games
from ppo.params import Params, load
from ppo.replay import Replay, record, save
from ppo.startup import default_threads, shards


@dataclass(frozen=True)
class TrainedAgent:
    """The policy of a run's newest sound checkpoint."""

    params: Params
    rules: Rules
    step: int
    act: model.Act


def load_agent(folder: RunFolder) -> TrainedAgent:
    """The trained agent of a run. Raises ParamsError or CheckpointError."""
    params = load(folder.params, checks=[check_games])
    saved = checkpoint.newest(folder, warn=print)
    rules = Rules.of(params)
    vector = GameVector(rules, 1, 1, frame_stack=params.frame_stack, screen_size=params.screen_size)
    shape, num_actions = vector.observations.shape[1:], vector.num_actions
    vector.close()
    network = model.of_settings(shape, num_actions, params)
    weights = saved.group("weights")
    checkpoint.check_fit(weights, network.get_weights())
    network.set_weights(weights)
    act = model.sampler(network, shards(params.threads or default_threads()))
    return TrainedAgent(params, rules, saved.step, act)


def evaluate_run(logdir: Path, num_games: int) -> Evaluation:
    """Play whole games, keep each as a replay, print the scores, and add a line to
    ``evaluations.jsonl``."""
    with owned(logdir) as folder:
        agent = load_agent(folder)
        evaluation = evaluate(agent.act, agent.params, num_games, agent.step)
        _save_replays(folder, agent, evaluation, f"evaluation-of-{num_games}")
        store(folder, evaluation, agent.params, agent.step)
    _print(agent, evaluation)
    return evaluation


def watch_run(logdir: Path, num_games: int) -> list[Path]:
    """Play whole games and make a video of each; prints where they are."""
    with owned(logdir) as folder:
        agent = load_agent(folder)
        evaluation = evaluate(agent.act, agent.params, num_games, agent.step)
        videos = []
        folder.videos.mkdir(exist_ok=True)
        for path, game in _save_replays(folder, agent, evaluation, "watched"):
            videos.append(folder.videos / f"{path.stem}.mp4")
            record(game, videos[-1])
            print(f"score {game.score:g} in {game.steps} steps: {videos[-1]}")
    return videos


def _save_replays(
    folder: RunFolder, agent: TrainedAgent, evaluation: Evaluation, name: str
) -> list[tuple[Path, Replay]]:
    folder.replays.mkdir(exist_ok=True)
    saved = []
    for number, game in enumerate(evaluation.games, 1):
        path = folder.replays / f"{name}-step-{agent.step:012d}-game-{number:03d}.json"
        replay = Replay.of(game, agent.rules, step=agent.step, policy="sampled")
        save(path, replay)
        saved.append((path, replay))
    return saved


def _print(agent: TrainedAgent, evaluation: Evaluation) -> None:
    table = Table(title=f"{agent.params.env_id}, agent of step {agent.step:,}, sampled policy")
    for column in ("game", "score", "steps", "frames"):
        table.add_column(column, justify="right")
    for number, game in enumerate(evaluation.games, 1):
        table.add_row(str(number), f"{game.score:g}", f"{game.steps:,}", f"{game.frames:,}")
    console = Console()
    console.print(table)
    low, high = evaluation.interval()
    console.print(f"mean {evaluation.mean:.2f}, 95 percent interval {low:.2f} to {high:.2f}")
