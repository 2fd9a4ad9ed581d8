"""What the benchmarks of collapses compute from stored forks."""

import itertools
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import collapses
from benchmarks.collapses import (
    FAMILIES,
    KEPT,
    PLACEBO,
    PONG,
    RATE,
    TRAINED,
    UPDATES,
    Fork,
    OneRun,
    add,
    changes,
    ended,
    forks,
    label_of,
    load,
    outcome,
    trained,
)
from docs.collapse_tables import (
    RANDOM_PLAY,
    at_equal_kl,
    dose,
    end,
    falling,
    first_kl,
    grid,
    height,
    holm,
    interventions,
    is_frozen,
    lowest,
    other_games,
    permutation,
)
from ppo import checkpoint
from ppo.checkpoint import Checkpoint
from ppo.envs.registry import resolved
from ppo.errors import PPOError
from ppo.files import origin
from ppo.files.folder import RunFolder
from ppo.files.origin import Origin
from ppo.settings import Params
from ppo.system.reading import Unreadable
from ppo.telemetry.scalars import POINTS, SCORE


def fork(
    change="unchanged",
    agent=1,
    level=1.0,
    plan="changes-x8",
    kl=0.3,
    made=UPDATES,
    entropy=0.2,
    **settings,
):
    """A fork that plays at a level from its first update on."""
    points = [RANDOM_PLAY + level * (0.0125 - RANDOM_PLAY)] * made
    logged = {"points": points, "kl": [kl] * made, "entropy": [entropy] * made}
    return Fork(plan, change, settings, agent, 0.0125, logged)


def test_the_height_is_1_for_the_agent_and_0_in_random_play():
    assert height(fork(level=0.25)) == pytest.approx(np.full(UPDATES, 0.25))
    assert end(fork(level=0.0)) == pytest.approx(0)


def test_a_fork_that_diverged_has_0_from_then_on():
    half = fork(made=UPDATES - 10)
    assert height(half)[-11:] == pytest.approx([1.0, *[0.0] * 10])
    assert end(half) == pytest.approx(0.5)


def test_the_lowest_mean_is_over_five_updates_in_a_row():
    dipping = fork()
    dipping.logged["points"][7] = RANDOM_PLAY - 3 * (0.0125 - RANDOM_PLAY)
    assert lowest(dipping) == pytest.approx((4 - 3) / 5)


def test_the_size_of_the_step_is_of_the_first_update_alone():
    one = fork()
    one.logged["kl"][:2] = [0.1, 9.0]
    assert first_kl(one) == 0.1
    assert first_kl(fork(made=0)) == math.inf


def test_a_policy_is_frozen_if_it_is_deterministic_at_the_end():
    late = fork()
    late.logged["entropy"][-20:] = [0.0] * 19 + [0.1]
    assert [is_frozen(fork(entropy=0.0009)), is_frozen(fork()), is_frozen(late)] == [1, 0, 0]


def test_permutation_by_counting():
    one, other = np.array([0.5, 0.1, 0.3]), np.array([-0.05, 0.2, 0.15])
    gap, counted = abs(one.mean() - other.mean()), 0
    for order in itertools.permutations([*one, *other]):
        counted += abs(np.mean(order[:3]) - np.mean(order[3:])) >= gap - 1e-12
    assert permutation(one, other) == pytest.approx(counted / 720)
    assert permutation(np.ones(5), np.zeros(5)) == pytest.approx(2 / 252)
    assert permutation(np.ones(4), np.ones(4)) == 1
    assert permutation(np.array([0.1, 0.2, 0.3]), np.array([0.3, 0.2, 0.1])) == 1


def test_holm_by_hand():
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.9})
    assert corrected == pytest.approx({"a": 0.04, "c": 0.09, "b": 0.09, "d": 0.9})


def test_values_that_rise_are_pooled():
    assert falling(np.array([1.0, 0.5, 0.7, 0.0])) == pytest.approx([1.0, 0.6, 0.6, 0.0])
    assert falling(np.array([0.0, 0.2, 1.0])) == pytest.approx([0.4] * 3)
    rng = np.random.default_rng(0)
    for _ in range(20):  # the minimum over starts of the maximum over ends (Barlow 1972)
        values = rng.normal(size=6)
        expected = [
            min(max(values[a : b + 1].mean() for b in range(i, 6)) for a in range(i + 1))
            for i in range(6)
        ]
        assert falling(values) == pytest.approx(expected)


def test_equal_kl_is_read_between_the_controls_and_never_beyond():
    controls = [(0.4, 0.0), (0.1, 1.0)]
    assert at_equal_kl(0.2, controls) == pytest.approx(0.5)  # halfway in the logarithm
    assert at_equal_kl(math.sqrt(0.1 * 0.2), controls) == pytest.approx(0.75)
    assert np.isnan([at_equal_kl(5.0, controls), at_equal_kl(0.01, controls)]).all()
    assert at_equal_kl(0.1, [(0.1, 0.0), (0.4, 1.0)]) == pytest.approx(0.5)
    diverged = [*controls, (math.inf, 0.0)]
    assert at_equal_kl(0.2, diverged) == pytest.approx(0.5) and at_equal_kl(0.4, diverged) == 0
    assert np.isnan([at_equal_kl(kl, diverged) for kl in (5.0, math.inf)]).all()
    assert np.isnan(at_equal_kl(math.inf, [(math.inf, 0.0)]))


def test_a_change_is_compared_with_the_same_agents_and_with_equal_kl():
    made = []
    for agent in range(1, 7):
        made += [fork("unchanged", agent, 0.2, kl=0.4), fork("rate / 2", agent, 0.6, kl=0.2)]
        made += [fork("rate / 4", agent, 0.9, kl=0.1), fork("placebo", agent, 0.2, kl=0.4)]
        made.append(fork("logit target", agent, 0.7, kl=0.2, entropy=0.0))
        made.append(fork("value detached", agent, 0.9, kl=0.01 if agent > 4 else 0.2))
    made.append(fork("peaked loss", 1, 0.7))  # of one agent alone: not in the table
    made.append(fork("logit target", 1, 0.0, "changes-x4"))  # another dose
    rows = {
        row.split("|")[1].strip(): row for row in interventions(made, "changes-x8").splitlines()
    }
    assert list(rows)[2:] == [
        "unchanged", "placebo", "rate / 2", "rate / 4", "logit target", "value detached",
    ]  # fmt: skip
    cells = [cell.strip() for cell in rows["logit target"].strip("|").split("|")]
    assert cells[1:7] == ["0.20", "0.70", "0.70", "0", "0", "6"]
    assert cells[7:9] == ["0.50", "0.002"]  # 2 / 924, the only one of its family
    assert cells[9:] == ["0.10", "0.002"]  # detached has too few agents inside
    cells = [cell.strip() for cell in rows["value detached"].strip("|").split("|")]
    assert cells[7:] == ["0.70", "0.002", "-", ""]
    cells = [cell.strip() for cell in rows["placebo"].strip("|").split("|")]
    assert cells[4:9] == ["6", "0", "0", "0.00", "1.000"]


def test_a_run_of_another_game_keeps_a_share_of_its_points():
    made = [fork(plan="changes-x16-QbertNoFrameskip-v4", entropy=0.0), fork(plan="changes-x16")]
    made[0].logged["points"] = [0.005] * UPDATES
    row = other_games(made).splitlines()[-1].replace(" ", "")
    assert row == "|Qbert|unchanged|0.30|0.40|0.000|yes|"


def test_the_map_and_the_dose():
    settings = {"learning_rate": 2 * RATE, "num_epochs": 6}
    made = [fork("one", agent, level, "map", **settings) for agent, level in ((1, 0.4), (2, 0.6))]
    assert grid(made).splitlines()[-1].replace(" ", "") == "|x2|0.50(0.50),KL0.30,1of2|"
    assert dose(made) == 2  # the largest, because agent 2 holds at every rate
    lower = {"learning_rate": 4 * RATE, "num_epochs": 6}
    made += [fork("two", agent, 0.3, "map", **lower) for agent in (1, 2)]
    made += [fork("all", 1, 0.0, "map", learning_rate=RATE, num_epochs=12)]  # no part of the dose
    assert dose(made) == 4


def test_plans_change_what_they_say():
    of_map, named = changes("map", 1.0), changes("changes", 8.0)
    assert len(of_map) == 18
    assert of_map["rate x 32, epochs 12"] == {"learning_rate": RATE * 32, "num_epochs": 12}
    assert named["unchanged"] == named[PLACEBO] == {"learning_rate": RATE * 8}
    assert named["rate / 4"] == {"learning_rate": RATE * 2}
    assert named["logit target"] == {"learning_rate": RATE * 8, "delta_target_policy": "logit"}
    assert named.keys() >= {*FAMILIES["A"], *FAMILIES["C"]}


def agent_at(folder, score, **settings):
    """An agent whose log ends with this score, as the driver knows it."""
    rows = "".join(f"{2048 * n},{score},0.01\n" for n in range(1, 31))
    folder.mkdir()
    (folder / "progress.csv").write_text(f"step,{SCORE},{POINTS}\n{rows}")
    return OneRun("agent", 21, (), folder, "", Params(**settings))


def test_an_agent_that_has_not_learnt_has_no_forks(tmp_path, monkeypatch):
    monkeypatch.setattr("ppo.checkpoint.newest", lambda _: SimpleNamespace(step=61440))
    monkeypatch.setattr("ppo.params.load_run", lambda *_: Params())
    with pytest.raises(PPOError, match="another seed"):
        forks(agent_at(tmp_path / "begun", 16.9, stop_at_score=TRAINED), "map", 1.0, tmp_path)
    made = forks(agent_at(tmp_path / "learnt", 17.0), "changes", 4.0, tmp_path)
    assert {run.height for run in made} == {0.01}
    assert len({*made}) == len(made)  # the overview of runs keeps them in a set
    assert made[0].folder == tmp_path / "changes-x4" / "unchanged" / "seed-21"
    seeds = {run.variant: dict(text.split("=") for text in run.overrides)["seed"] for run in made}
    assert (seeds.pop(PLACEBO), {*seeds.values()}) == ("1021", {"21"})


@pytest.mark.parametrize("lacking", [None, *KEPT.values()])
def test_a_value_that_a_log_lacks_is_not_taken_for_0(tmp_path, lacking):
    cells = ["" if tag == lacking else "0.5" for tag in KEPT.values()]
    text = f"step,{','.join(KEPT.values())}\n2048,{','.join(cells)}\n"
    (tmp_path / "progress.csv").write_text(text)
    plan = label_of("changes", 8.0, PONG)
    run = OneRun("unchanged", 1, (), tmp_path, "", Params(), plan, 0.01, {"num_epochs": 1})
    if lacking in (KEPT["points"], KEPT["kl"]):
        with pytest.raises(PPOError, match=lacking):
            outcome(run, "")
        return
    made = outcome(run, "")
    assert (made.plan, made.settings, made.height) == ("changes-x8", {"num_epochs": 1}, 0.01)
    expected = {name: [None if tag == lacking else 0.5] for name, tag in KEPT.items()}
    assert made.logged == expected


def test_a_trained_run_of_another_game_is_forked_at_any_score(tmp_path, monkeypatch):
    monkeypatch.setattr("ppo.checkpoint.newest", lambda _: SimpleNamespace(step=61440))
    merged = Params(env_id="QbertNoFrameskip-v4", seed=5)
    monkeypatch.setattr("ppo.params.load_run", lambda *_: merged)
    folder = agent_at(tmp_path / "qbert", 5.0).folder
    made = forks(trained(folder), "changes", 16.0, tmp_path)
    assert {run.plan for run in made} == {"changes-x16-QbertNoFrameskip-v4"}
    assert made[0].begins == f"--fork={folder}"


def test_the_kl_of_each_update_is_logged(tmp_path, monkeypatch):
    monkeypatch.setattr("ppo.checkpoint.newest", lambda _: SimpleNamespace(step=61440))
    monkeypatch.setattr("ppo.params.load_run", lambda *_: Params())
    for run in forks(agent_at(tmp_path / "learnt", 17.0), "changes", 4.0, tmp_path):
        assert {"diagnostics_interval=1", "log_interval=1"} <= {*run.overrides}


def test_a_fork_that_diverged_has_ended(tmp_path):
    run = OneRun("unchanged", 1, (), tmp_path, "", Params())
    assert not ended(run)
    (tmp_path / "diverged-000000002048.npz").touch()
    assert ended(run)


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


def run_with_checkpoint(folder, seed=21, step=2048):
    """A run of Pong that has a checkpoint and a log."""
    settings = resolved(Params(seed=seed, threads=1, precision="float32"))
    agent_at(folder, 17.0)
    (folder / "params.json").write_text(settings.to_json())
    checkpoint.save(RunFolder(folder), Checkpoint(step, {}), 9)
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """Call the command, which makes no run. Return its code, its runs, and what it says."""

    def called(*arguments):
        runs = []
        monkeypatch.setattr(sys, "argv", ["collapses", *arguments])
        monkeypatch.setattr(collapses, "run_all", lambda given, *_: runs.extend(given))
        try:
            code = collapses.main()
        except SystemExit as ended:
            code = ended.code
        return code, runs, capsys.readouterr().err

    return called


def test_forks_of_two_agents_never_share_a_folder(tmp_path, call):
    one, other = (f"--trained={run_with_checkpoint(tmp_path / name)}" for name in ("a", "b"))
    plan = [f"--logdir={tmp_path / 'forks'}", "--plan=changes", "--only=unchanged"]
    folder = tmp_path / "forks" / "changes-x8" / "unchanged" / "seed-21"
    assert call(*plan, one, other) == (2, [], f"{folder}: two agents have this folder\n")
    code, (fork,), _ = call(*plan, one)
    assert (code, fork.folder) == (0, folder)
    folder.mkdir(parents=True)
    (folder / "params.json").write_text(fork.params.to_json())
    origin.write(RunFolder(folder), Origin(tmp_path / "a", 2048))
    assert call(*plan, one)[0] == 0
    code, _, said = call(*plan, other)
    assert code == 2 and "was forked from" in said and "remove it" in said


def test_arguments_that_make_nothing_are_refused_before_anything_begins(tmp_path, call):
    place = [f"--logdir={tmp_path / 'forks'}", f"--trained={run_with_checkpoint(tmp_path / 'run')}"]
    code, _, said = call(*place)
    assert code == 2 and "--trained and --only go with --plan" in said
    code, _, said = call(*place, "--plan=map", "--only=rate", f"--results={tmp_path / 'no' / 'x'}")
    assert code == 2 and "--only='rate': no such change" in said and "there is no folder" in said
    for wrong in ("--workers=0", "--random-play=-1"):
        code, _, said = call(*place, "--plan=map", wrong)
        assert code == 2 and "is not a number of 1 or more" in said
    assert not (tmp_path / "forks").exists()
