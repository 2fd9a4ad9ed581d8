"""A sweep: its grid, what it refuses, and one that is interrupted and resumed."""

import json
from pathlib import Path

import pytest

from ppo.study import sweep


def test_grid_is_every_combination_seed_by_seed():
    runs = sweep.grid(
        Path("d"), ["plain", "x:peaked_policy_loss=true"], ["gamma=0.9,0.99"], [0, 1], 1
    )
    assert len(runs) == 8
    assert [run.seed for run in runs] == [0] * 4 + [1] * 4
    assert runs[2].overrides == ("peaked_policy_loss=true", "gamma=0.9", "seed=0", "threads=1")
    assert len({run.folder for run in runs}) == 8


@pytest.mark.parametrize("bad", [["--vary", "gama=1"], ["--vary", "gamma=2"], ["--seeds", "a"]])
def test_bad_settings_start_nothing(tmp_path, bad, capsys):
    pfile = tmp_path / "base.json"
    pfile.write_text("{}")
    arguments = [f"--logdir={tmp_path / 'sweep'}", f"--pfile={pfile}", *bad]
    refused = sweep.main
    if bad[0] == "--seeds":  # argparse ends the process itself
        with pytest.raises(SystemExit, match="2"):
            refused(arguments)
    else:
        assert refused(arguments) == 2
    assert not (tmp_path / "sweep").exists()


def test_a_sweep_goes_on_where_it_was_interrupted(tmp_path, capsys):
    pfile = tmp_path / "base.json"
    settings = {
        "env_id": "tests.pixel_game:Catch-v0",
        "network": "a3c",
        "num_steps": 32,
        "total_steps": 1024,
        "log_interval": 256,
    }
    pfile.write_text(json.dumps(settings))
    logdir = tmp_path / "sweep"
    arguments = [f"--logdir={logdir}", f"--pfile={pfile}", "--variant", "plain", "--workers=2"]
    assert sweep.main(arguments) == 0
    arguments += ["--variant", "peaked:peaked_policy_loss=true"]
    assert sweep.main(arguments) == 0
    assert "plain, seed 0: was done already" in capsys.readouterr().out
    table = (logdir / "table.md").read_text()
    assert "| plain | 1 | 1,024 |" in table
    assert "| peaked | 1 | 1,024 |" in table
    assert (logdir / "figure.png").stat().st_size > 10_000


def test_drawing_no_run_is_one_message(tmp_path, capsys):
    assert sweep.main([f"--logdir={tmp_path}", f"--draw=x={tmp_path / 'nowhere'}"]) == 1
    said = capsys.readouterr().err
    assert "nowhere" in said and "no run has a curve" in said and "Traceback" not in said


def test_drawing_a_run_beside_an_empty_one_draws_the_run(tmp_path, capsys):
    (tmp_path / "good").mkdir()
    rows = ["step,rollout/ep_rew_mean", "100,1.0", "200,2.0", "300,3.0"]
    (tmp_path / "good" / "progress.csv").write_text("\n".join(rows) + "\n")
    draw = [f"--draw=good={tmp_path / 'good'}", f"--draw=empty={tmp_path / 'empty'}"]
    assert sweep.main([f"--logdir={tmp_path}", *draw]) == 0
    captured = capsys.readouterr()
    assert "| good | 1 | 300 |" in captured.out
    assert "empty" in captured.err
