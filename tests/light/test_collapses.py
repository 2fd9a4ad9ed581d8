"""What the benchmarks of collapses compute from stored forks."""

import itertools
import math

import numpy as np
import pytest

from benchmarks.collapses import KEPT, RATE, UPDATES, Fork, OneRun, add, changes, load, outcome
from docs.collapse_tables import (
    RANDOM_PLAY,
    at_equal_kl,
    grid,
    holm,
    interventions,
    lowest,
    shares,
    sign_flip,
)
from ppo.errors import PPOError
from ppo.settings import Params
from ppo.system.reading import Unreadable


def fork(change="unchanged", agent=1, level=1.0, plan="interventions", kl=0.3, **settings):
    """A fork whose first rollout has 0.0125 points a step, and the later ones a share of it."""
    later = RANDOM_PLAY + level * (0.0125 - RANDOM_PLAY)
    points = [0.0125, *[later] * (UPDATES - 1)]
    return Fork(plan, change, settings, agent, points, [kl] * UPDATES, [0.0] * UPDATES)


def test_the_share_is_1_at_the_agents_start_and_0_in_random_play():
    found = shares([fork(level=0.25), fork("slow", level=0.0)])
    assert found["unchanged", 1][[0, 1, -1]] == pytest.approx([1, 0.25, 0.25])
    assert found["slow", 1][-1] == pytest.approx(0)


def test_the_lowest_mean_is_over_five_updates_in_a_row():
    share = np.ones(20)
    share[7] = -3.0
    assert lowest(share) == pytest.approx((4 - 3) / 5)


def test_sign_flip_by_counting():
    differences = np.array([0.5, 0.1, 0.3, -0.05])
    mean = abs(differences.mean())
    counted = 0
    for signs in itertools.product((1, -1), repeat=4):
        total = sum(sign * one for sign, one in zip(signs, differences, strict=True))
        counted += abs(total / 4) >= mean - 1e-12
    assert sign_flip(differences) == counted / 16
    assert sign_flip(np.ones(5)) == 2 / 32  # five agents cannot reach 5 percent
    assert sign_flip(np.ones(10)) == 2 / 1024


def test_holm_by_hand():
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.9})
    assert corrected == pytest.approx({"a": 0.04, "c": 0.09, "b": 0.09, "d": 0.9})


def test_equal_kl_is_read_between_the_controls():
    controls = [(0.4, 0.0), (0.1, 1.0)]
    assert at_equal_kl(0.2, controls) == pytest.approx(0.5)  # halfway in the logarithm
    assert at_equal_kl(math.sqrt(0.1 * 0.2), controls) == pytest.approx(0.75)
    assert (at_equal_kl(5.0, controls), at_equal_kl(0.01, controls)) == (0.0, 1.0)


def test_a_change_is_compared_with_the_same_agents_and_with_equal_kl():
    made = []
    for agent in range(1, 11):
        made += [fork("unchanged", agent, 0.2, kl=0.4), fork("rate / 2", agent, 0.6, kl=0.2)]
        made += [fork("rate / 4", agent, 0.9, kl=0.1), fork("rate / 8", agent, 1.0, kl=0.05)]
        made.append(fork("logit target", agent, 0.7, kl=0.2))
    made.append(fork("peaked loss", 1, 0.7))  # of one agent alone: not in the table
    *_, row = interventions(made).splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["logit target", "10", "0.70"]
    assert cells[3:5] == ["0.70 (0.70 to 0.70)", "0.200"]
    assert cells[5:7] == ["0.50 (0.50 to 0.50)", "0.002"]
    assert cells[7] == "0.10 (0.10 to 0.10)"


def test_the_map_has_the_mean_of_its_agents():
    settings = {"learning_rate": 8e-4, "num_epochs": 3}
    made = [fork("one", agent, level, "map", **settings) for agent, level in ((1, 0.5), (2, 0.7))]
    assert grid(made).splitlines()[-1].replace(" ", "") == "|0.0008|0.60(0.60)|"


def test_plans_change_what_they_say():
    of_map, named = changes("map", 1.0), changes("interventions", 8.0)
    assert len(of_map) == 24
    assert of_map["rate x 32, epochs 12"] == {"learning_rate": RATE * 32, "num_epochs": 12}
    assert named["unchanged"] == {"learning_rate": RATE * 8}
    assert named["rate / 4"] == {"learning_rate": RATE * 2}
    assert named["logit target"] == {"learning_rate": RATE * 8, "delta_target_policy": "logit"}


@pytest.mark.parametrize("lacking", [None, *KEPT.values()])
def test_a_value_that_a_log_lacks_is_not_taken_for_0(tmp_path, lacking):
    cells = ["" if tag == lacking else "0.5" for tag in KEPT.values()]
    text = f"step,{','.join(KEPT.values())}\n2048,{','.join(cells)}\n"
    (tmp_path / "progress.csv").write_text(text)
    run = OneRun("unchanged", 1, (), tmp_path, "", Params(learning_rate=RATE))
    if lacking:
        with pytest.raises(PPOError, match=lacking):
            outcome(run, "interventions", "")
    else:
        assert outcome(run, "interventions", "").kl == [0.5]


def test_a_file_of_forks_keeps_what_it_has(tmp_path):
    path = tmp_path / "forks.jsonl"
    add(path, [fork(level=0.5)])
    add(path, [fork(level=0.9), fork(agent=2)])
    assert load(path) == [fork(level=0.5), fork(agent=2)]
    assert load(tmp_path / "none.jsonl") == []


def test_a_file_with_a_line_that_is_no_fork_is_refused_and_kept(tmp_path):
    path = tmp_path / "forks.jsonl"
    path.write_text("{}\n")
    with pytest.raises(Unreadable, match="line 1"):
        add(path, [fork()])
    assert path.read_text() == "{}\n"
