"""What the benchmarks compute themselves; their timings are no tests."""

import csv
import sys

import pytest

from benchmarks import faults, speed
from benchmarks.ours import step_flops
from benchmarks.time_to_score import scores_of
from ppo import model, train
from ppo.trainer import Trainer


def test_operations_of_a_step_by_hand():
    # Places x filters x kernel of the three convolutions, then the dense layer and the heads.
    products = [20 * 20 * 32 * 256, 9 * 9 * 64 * 512, 7 * 7 * 64 * 576, 3136 * 512, 512 * 7]
    forward = 2 * sum(products)
    network = model.build((84, 84, 4), 6, "nature")
    update = 2 * (3 * sum(products) - products[0])
    assert step_flops(network, 1) == forward + update
    assert step_flops(network, 4) == forward + 4 * update
    assert step_flops(network, 4) == pytest.approx(217e6, rel=0.01)


ROWS = [
    {"step": 100, "rollout/ep_rew_best": "", "eval/mean_reward": "", "time/time_elapsed": 5.0},
    {"step": 200, "rollout/ep_rew_best": 20, "eval/mean_reward": 21.0, "time/time_elapsed": 9.5},
    {"step": 300, "rollout/ep_rew_best": 21, "eval/mean_reward": "", "time/time_elapsed": 14.5},
    {"step": 400, "rollout/ep_rew_best": 21, "eval/mean_reward": 19.0, "time/time_elapsed": 19.0},
]


def test_time_to_a_score_is_the_time_of_the_first_point_that_has_it(tmp_path):
    with open(tmp_path / "progress.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [*ROWS[0], "rollout/ep_rew_mean"])
        writer.writeheader()
        writer.writerows(row | {"rollout/ep_rew_mean": -1.5} for row in ROWS)
    line = scores_of(tmp_path, perfect=21, score=20)
    assert line["perfect_game"] == {"steps": 300, "seconds": 14.5}
    assert line["evaluation"] == {"steps": 200, "seconds": 9.5}
    assert (line["last_evaluation"], line["mean_of_last_games"]) == (19.0, -1.5)
    assert (line["steps"], line["seconds"]) == (400, 19.0)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "progress.csv").write_text("step\n")
    assert scores_of(tmp_path / "begun", perfect=21, score=20) == {}
    assert scores_of(tmp_path, perfect=22, score=22)["perfect_game"] is None


def test_a_fault_begins_once_at_the_first_iteration_from_its_step_on(tmp_path, monkeypatch):
    for owner, name in ((train, "start_tensorflow"), (Trainer, "_iterate")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # restored after the test
    steps: list[int] = []
    monkeypatch.setitem(faults.FAULTS, "clip off", lambda learner: steps.append(learner.step))
    faults.plant("clip off", 40)
    settings = {"env_id": "CartPole-v1", "total_steps": 128, "num_envs": 2, "num_steps": 16}
    result = train.run({**settings, "num_minibatches": 1, "threads": 1}, tmp_path / "run")
    assert (result.step, steps) == (128, [64])


@pytest.mark.parametrize("beside", ["--sb3-python=none/python", "--beside=mine=", "--beside=mine"])
def test_a_program_that_is_absent_is_refused_before_anything_is_measured(
    beside, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["speed", beside])
    monkeypatch.setattr(speed, "ours", None)
    with pytest.raises(SystemExit) as ended:
        speed.main()
    assert ended.value.code == 2 and "no such program" in capsys.readouterr().err
