"""Curves measured by hand calculation; a sweep run, interrupted, and gone on with."""

import json
from pathlib import Path

import numpy as np
import pytest

from ppo import curves, sweep
from ppo.curves import Comparison, Curve, collapses


def curve(*scores: float) -> Curve:
    return Curve(np.arange(len(scores)) * 100.0, np.array(scores, float))


def test_a_steady_rise_has_no_collapse():
    assert collapses(np.arange(10.0), 3) == []


def test_a_fall_as_deep_as_the_limit_is_none():
    assert collapses(np.array([0, 10, 7, 10.0]), 3) == []


def test_a_fall_ends_when_half_of_it_is_made_up():
    # 10 -> 2 is a fall of 8, over at 6; then from 6 up to 9 and down to 1, a fall of 8 to the end.
    assert collapses(np.array([0, 10, 5, 2, 4, 6, 9, 1, 2.0]), 3) == [8, 8]


def test_a_slow_fall_counts_once():
    assert collapses(np.array([10, 8, 6, 4, 2, 0.0]), 3) == [10]


def test_runs_are_compared_at_the_steps_that_all_have_reached():
    long, short = curve(0, 10, 20, 30), curve(5, 5, 5)
    comparisons = curves.compare({"long": [long], "both": [long, short]})
    assert [comparison.steps[-1] for comparison in comparisons] == [200, 200]
    assert comparisons[0].scores[0, -1] == 20
    assert comparisons[1].mean[-1] == 12.5


def test_a_figure_shows_each_variant_as_far_as_its_own_runs_go():
    long, short = curve(0, 1, 2, 3, 4), curve(0, 10, 20)
    shown = curves.each({"long": [long], "both": [long, short]})
    assert [comparison.name for comparison in shown] == ["long", "both"]
    assert [comparison.steps[-1] for comparison in shown] == [400, 200]


def test_area_is_the_mean_score_on_the_way():
    (comparison,) = curves.compare({"a": [curve(0, 10, 20)]})
    assert comparison.area == pytest.approx(10)


def test_interval_holds_the_mean_and_shrinks_to_it_for_equal_runs():
    scores = np.random.default_rng(0).normal(size=(5, 200))
    low, high = Comparison("a", np.arange(200.0), scores).interval()
    assert (low <= scores.mean(0)).all()
    assert (scores.mean(0) <= high).all()
    low, high = Comparison("a", np.arange(200.0), np.ones((3, 200))).interval()
    assert (low == high).all()


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
