"""What the page says of runs from scratch, from the runs that are kept."""

import numpy as np
import pytest

from benchmarks.collapses import Fork
from docs.from_scratch import KEPT, OF_ALL, final, has_collapsed, learnt, table
from ppo import presets
from ppo.errors import PPOError
from ppo.params import load
from ppo.telemetry.scalars import SCORE


def run(change, seed, *scores, plan="scratch-x4"):
    logged = {"step": [2048 * n for n, _ in enumerate(scores, 1)], "score": [*scores]}
    return Fork(plan, change, {}, seed, max(one or -20.7 for one in scores), logged)


def test_final_scores_are_compared_with_the_unchanged_ones_of_the_rate():
    plain = [run("unchanged", seed, None, -20.0, 10.0 + seed) for seed in (1, 2, 3)]
    better = [run("logit target", seed, None, 14.0 + 2 * seed) for seed in (1, 2, 3)]
    other = [run("unchanged", 1, -20.0, 5.0, -15.0, plan="scratch-x8")]
    rows = [line.split(" | ") for line in table([*other, *better, *plain]).splitlines()[2:]]
    assert [row[1] for row in rows] == ["unchanged", "logit target", "unchanged"]
    assert [row[3] for row in rows] == ["11.0 12.0 13.0", "16.0 18.0 20.0", "-15.0"]
    half = 4.303 / np.sqrt(3)  # Student's t with two degrees, standard deviation 1
    assert rows[0][2] == f"12.00 ({12 - half:.2f} to {12 + half:.2f})"
    assert rows[1][5] == f"6.00 ({6 - half:.2f} to {6 + half:.2f})"
    assert rows[1][6].startswith("0.100")  # 2 of the 20 ways to divide six runs
    assert rows[2][4] == "1"


def test_a_change_is_compared_by_the_seeds_that_both_have():
    plain = [run("unchanged", seed, 10.0 * seed) for seed in (1, 2)]
    row = table([*plain, run("logit target", 2, 21.0), run("logit target", 3, 0.0)]).splitlines()[3]
    assert row.split(" | ")[5] == "1.00"


@pytest.mark.parametrize(
    ("scores", "score", "fallen"),
    [
        ((None, -20.0, 10.0), 10.0, False),
        ((None, 20.0, -0.3), -0.3, False),  # the middle is -0.35
        ((None, 20.0, -0.4), -0.4, True),
        ((None, None), -20.7, False),  # no game has ended
    ],
)
def test_a_run_has_collapsed_if_it_lost_half_of_its_best(scores, score, fallen):
    one = run("unchanged", 1, *scores)
    assert (final(one), has_collapsed(one)) == (score, fallen)


def saved(folder, settings):
    overrides = [*OF_ALL, *(f"{key}={value}" for key, value in {"seed": 5, **settings}.items())]
    (folder / "params.json").write_text(load(presets.find("pong"), overrides).to_json())


@pytest.mark.parametrize(
    "settings",
    [
        {"gamma": 0.9},
        {"num_envs": 8},
        {"precision": "bfloat16"},
        {"minibatch_kl_limit": 0.05},
        {"value_gradient": "detached"},
    ],
)
def test_a_run_with_settings_of_its_own_is_refused(tmp_path, settings):
    saved(tmp_path, settings)
    (tmp_path / "progress.csv").write_text(f"step,{SCORE}\n2048,-20\n")
    with pytest.raises(PPOError, match=next(iter(settings))):
        learnt(tmp_path, "")


@pytest.mark.parametrize(
    ("settings", "plan", "change"),
    [
        ({}, "scratch-x1", "unchanged"),
        ({"delta_target_policy": "logit", "learning_rate": 1.6e-3}, "scratch-x4", "logit target"),
        ({"value_rescaling": "smoothed"}, "scratch-x1", "rescaling smoothed"),
    ],
)
def test_a_run_is_kept_by_what_its_settings_change(tmp_path, settings, plan, change):
    saved(tmp_path, settings)
    rows = "2048,,0.01\n4096,-19.123456,0.02\n"
    (tmp_path / "progress.csv").write_text(f"step,{SCORE},train/approx_kl\n{rows}")
    made = learnt(tmp_path, "a machine")
    assert (made.plan, made.change, made.agent, made.height) == (plan, change, 5, -19.123456)
    logged = {"step": [2048, 4096], "score": [None, -19.123], "kl": [0.01, 0.02]}
    assert made.logged == {name: logged.get(name, [None, None]) for name in KEPT}
