import io
import types

import numpy as np
import pytest
from rich.console import Console

from ppo.envs.episode import Episode, Reset
from ppo.evaluate.evaluate import Evaluation
from ppo.evaluate.games import rows
from ppo.settings import Params
from ppo.system import tables

PONG = Params(env_id="PongNoFrameskip-v4").resolved(1, 1, 0.0, "float32")


def of(*scores: float) -> Evaluation:
    actions = np.zeros(1234, np.int32)
    return Evaluation([Episode(Reset(0, 0), actions, score, 4936, 0) for score in scores])


def shown(terminal: bool, params=PONG) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80, color_system=None)
    policy = types.SimpleNamespace(choice="sampled")
    evaluations = of(-20.7, 14.6, 21.0), of(21.0, 20.0)
    body = rows([evaluation.record(params, policy, 4096) for evaluation in evaluations])
    tables.show_table([params.env_id, "sampled", "greedy"], body, console)
    return file.getvalue().splitlines()


EXPECTED = {
    "step of the checkpoint": ("4,096", "4,096"),
    "seed of the games": ("1", "1"),
    "games": ("3", "2"),
    "mean score": ("4.97", "20.50"),
    "median score": ("14.6", "20.5"),
    "best score": ("21", "21"),
    "worst score": ("-20.7", "20"),
    "mean length in steps": ("1234", "1234"),
    "ended by the time limit": ("0 of 3", "0 of 2"),
    "human-normalized score": ("0.73", "1.17"),
    "95 percent interval, low": ("-50.82", "14.15"),
    "95 percent interval, high": ("60.76", "26.85"),
}


def test_the_mean_of_one_game_has_no_interval():
    policy = types.SimpleNamespace(choice="sampled")
    body = dict(rows([of(21.0).record(PONG, policy, 4096)]))
    assert body["mean score"] == "21.00"
    assert {body[f"95 percent interval, {end}"] for end in ("low", "high")} == {"-"}


def test_in_a_pipe_each_line_has_tabs_and_nothing_else():
    head, *lines = (line.split("\t") for line in shown(terminal=False))
    assert head == ["PongNoFrameskip-v4", "sampled", "greedy"]
    assert {name: (one, other) for name, one, other in lines} == EXPECTED


def test_a_terminal_of_80_columns_shows_the_same_as_a_table():
    lines = shown(terminal=True)
    assert max(map(len, lines)) <= 80
    rows = {tuple(cell.strip() for cell in line.split("│")[1:4]) for line in lines}
    assert {(name, *cells) for name, cells in EXPECTED.items()} <= rows


@pytest.mark.parametrize("env_id", ["ALE/Tetris-v5", "CartPole-v1"])
def test_game_that_no_human_is_known_to_have_played_has_no_such_row(env_id):
    lines = shown(terminal=False, params=PONG.model_copy(update={"env_id": env_id}))
    assert len(lines) > 9 and not [line for line in lines if line.startswith("human")]
