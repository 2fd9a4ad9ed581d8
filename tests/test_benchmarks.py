"""What the benchmarks compute themselves; their timings are no tests."""

import csv
import sys

import pytest

from benchmarks import faults, speed, time_to_score
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


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--sb3-python=none/python"], "no such program: none/python"),
        (["--beside=mine=none x"], "mine: no such program: none"),
        (["--beside=mine="], "write NAME=COMMAND"),
        (["--beside=mine"], "write NAME=COMMAND"),
        (["--beside=mine=true", "--beside=mine=false"], "two programs have the same name"),
        (["--beside=mine=true", "--rounds=0"], "0 is not a number of 1 or more"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_measured(
    arguments, fault, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["speed", *arguments])
    monkeypatch.setattr(speed, "ours", None)
    with pytest.raises(SystemExit) as ended:
        speed.main()
    assert ended.value.code == 2 and fault in capsys.readouterr().err


@pytest.mark.parametrize("line", ["", "500", "{}", '{"steps_per_second": 500}'])
def test_a_program_that_prints_no_result_is_named(line):
    with pytest.raises(SystemExit, match=r"^echo .*its last line is no result"):
        speed.last_line(["echo", line])
    result = '{"steps_per_second": 500, "peak_mib": 600}'
    assert speed.last_line(["echo", result]) == {"steps_per_second": 500, "peak_mib": 600}


def test_a_score_of_an_evaluation_needs_evaluations(tmp_path, monkeypatch, capsys):
    arguments = ["--pfile=pong", "--seeds=1", "--score=20", f"--logdir={tmp_path / 'runs'}"]
    monkeypatch.setattr(sys, "argv", ["", *arguments, "--set", "evaluation_interval=0"])
    with pytest.raises(SystemExit) as ended:
        time_to_score.train_and_report()
    assert ended.value.code == 2 and "evaluation_interval = 0" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
