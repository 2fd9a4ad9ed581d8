"""Explaining a run from its log: logs that are written down, with one thing wrong in each."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from ppo.autopsy import signs
from ppo.autopsy.explain import explain
from ppo.files import origin
from ppo.files.folder import FolderError, RunFolder
from ppo.report import report
from ppo.telemetry import health, progress
from ppo.telemetry.health import ENTRIES, Health
from ppo.telemetry.scalars import POINTS

HEALTHY = {
    "rollout/points_per_step": 0.01,
    "train/approx_kl": 0.01,
    "train/ratio_distance": 0.08,
    "train/target_distance": 0.2,
    "train/clip_range": 0.2,
    "train/entropy_loss": -1.0,
    "train/grad_norm": 1.0,
    "train/advantage_std": 0.25,
    "train/value_loss": 0.03,
    "layers/change_conv1": 0.02,
    "layers/change_policy": 0.03,
    "train/minibatch_kl_max": 0.03,
    "train/minibatch_kl_argmax": 31.0,
}
FAULT_AT = 40  # an entry, from 0


def log(**faults: float) -> list[dict[str, float]]:
    """Sixty entries of a healthy run with a little noise; each fault multiplies a scalar from the
    entry FAULT_AT on.
    """
    rng = np.random.default_rng(3)
    rows = []
    for entry in range(60):
        row = {tag: value * math.exp(rng.normal(0, 0.03)) for tag, value in HEALTHY.items()}
        row["train/target_distance"], row["train/clip_range"] = 0.2, 0.2
        row["step"] = 1000.0 * (entry + 1)
        for tag, factor in faults.items() if entry >= FAULT_AT else ():
            name = tag.replace("__", "/")
            row[name] *= factor
        rows.append(row)
    return rows


def written(folder: Path, rows: list[dict[str, float]], params: str = "{}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(params)
    with open(folder / "progress.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["step", *[tag for tag in rows[0] if tag != "step"]])
        writer.writeheader()
        writer.writerows(rows)
    return folder


FAULTS = {
    signs.STEPS: {"layers__change_conv1": 8, "layers__change_policy": 8, "train__approx_kl": 20},
    signs.REWARDS: {"train__advantage_std": 1000, "train__value_loss": 1e6, "train__grad_norm": 50},
    signs.TRUST: {"train__target_distance": 1e6, "train__ratio_distance": 3},
    signs.WEIGHTS: {"rollout__points_per_step": 0.2, "train__value_loss": 5},
    signs.VALUE: {"train__grad_norm": 30},
    signs.ENTROPY: {"train__entropy_loss": 1.5, "train__ratio_distance": 3},
    signs.ADVANTAGES: {"train__advantage_std": 0.2},
}


@pytest.mark.parametrize("cause", FAULTS, ids=lambda cause: cause.name)
def test_each_class_of_cause_is_named_with_its_entry(cause, tmp_path):
    run = written(tmp_path / "run", log(**FAULTS[cause]))
    text = explain(run)
    assert f"\na sign of: {cause.name}" in text
    assert cause.remedy in text
    assert f"first, at step {1000 * (FAULT_AT + 1):,}" in text


def test_nothing_is_found_in_a_healthy_log(tmp_path):
    text = explain(written(tmp_path / "run", log()))
    assert "no collapse found" in text and "a sign of" not in text
    assert "autopsy" not in text and "in the last" not in text


def test_nothing_alarming_is_said_of_what_a_healthy_run_has_survived_or_nobody_knows(tmp_path):
    changed = fork(tmp_path / "run", tmp_path / "gone", 20_000, log(train__advantage_std=3.5))
    text = explain(changed)
    first, *more = text.splitlines()
    assert first.endswith("; no collapse found")
    assert [line for line in more if not line.startswith("forked at step 20,000")] == []
    old = [*log(**FAULTS[signs.VALUE]), *log()]
    for entry, row in enumerate(old):
        row["step"] = 1000.0 * (entry + 1)
    assert "a sign of" in explain(written(tmp_path / "new", old[:70]))
    assert "a sign of" not in explain(written(tmp_path / "old", old))


GOOD_NEWS = {
    "rollout__points_per_step": 5,
    "train__approx_kl": 0.05,
    "train__ratio_distance": 0.2,
    "train__grad_norm": 0.1,
    "train__value_loss": 0.01,
    "layers__change_conv1": 0.05,
    "layers__change_policy": 0.05,
}


@pytest.mark.parametrize("tag", GOOD_NEWS)
def test_what_grows_calm_or_better_is_no_sign(tag, tmp_path):
    text = explain(written(tmp_path / "run", log(**{tag: GOOD_NEWS[tag]})))
    assert "a sign of" not in text


@pytest.mark.parametrize("tag", ["train__advantage_std", "train__target_distance"])
@pytest.mark.parametrize("factor", [0.2, 5])
def test_what_may_leave_its_range_either_way_is_a_departure(tag, factor):
    departures = signs.first(log(**{tag: factor}), signs.BEFORE)
    assert [of.index for of in departures.values()] == [FAULT_AT]


MOVED = {"layers__change_conv1": 1.6, "layers__change_policy": 1.6}  # 5 of its deviations
KL, RATIOS = {"train__approx_kl": 2.1}, {"train__ratio_distance": 1.6}  # 5 as well


@pytest.mark.parametrize("alone", [MOVED, KL, RATIOS])
def test_what_is_no_sign_alone_is_one_together_with_another(alone, tmp_path):
    assert "a sign of" not in explain(written(tmp_path / "alone", log(**alone)))
    other = KL if alone is MOVED else MOVED
    text = explain(written(tmp_path / "together", log(**alone, **other)))
    assert "movement of the layers" in text and f"\na sign of: {signs.STEPS.name}" in text
    assert f"first, at step {1000 * (FAULT_AT + 1):,}" in text


def test_a_later_sign_of_another_cause_is_named_too(tmp_path):
    rows = log(**MOVED, **KL)
    for row in rows[FAULT_AT + 12 :]:
        row["train/grad_norm"] *= 30
    text = explain(written(tmp_path / "run", rows))
    assert f"first, at step {1000 * (FAULT_AT + 1):,}" in text
    later = [line for line in text.splitlines() if line.startswith("later")]
    step = f"{1000 * (FAULT_AT + 13):,}"
    assert later == [f"later, at step {step}, perhaps a consequence, a sign of: {signs.VALUE.name}"]


def test_a_damaged_policy_is_distinguished_from_larger_rewards(tmp_path):
    damaged = {"rollout__points_per_step": 0.2, "train__advantage_std": 60}
    text = explain(written(tmp_path / "damaged", log(**damaged)))
    assert f"\na sign of: {signs.WEIGHTS.name}" in text
    text = explain(written(tmp_path / "rewards", log(train__advantage_std=60)))
    assert f"\na sign of: {signs.REWARDS.name}" in text


def test_one_bad_rollout_is_no_sign(tmp_path):
    rows = log()
    rows[FAULT_AT]["rollout/points_per_step"] *= 0.5
    assert "a sign of" not in explain(written(tmp_path / "run", rows))


def test_a_collapse_is_reported_with_its_depth_the_minibatch_and_the_autopsy(tmp_path):
    rows = log(**FAULTS[signs.STEPS])
    for entry, row in enumerate(rows):
        row["rollout/points_per_step"] += -0.02 if entry > FAULT_AT else 0.0
    text = explain(written(tmp_path / "run", rows))
    assert (
        "the policy collapsed, from 0.01" in text
        and "% of the distance from its best level" in text
    )
    assert f"ended at step {1000 * (FAULT_AT + 1):,}" in text
    assert "of minibatch 3" in text
    assert f"python -m ppo.autopsy {tmp_path / 'run'}" in text


def test_a_fault_is_found_after_a_collapse_that_no_scalar_shows(tmp_path):
    rng, healthy, faulty = np.random.default_rng(1), log(), log(**FAULTS[signs.VALUE])
    for entry, noise in enumerate(rng.normal(0, 0.2, len(healthy))):
        level = 0.01 if entry < 20 else 0.002 if entry < 32 else 0.004
        for rows in (healthy, faulty):
            rows[entry]["rollout/points_per_step"] = level * math.exp(noise)
    slow, both = (
        explain(written(tmp_path / name, rows))
        for name, rows in (("slow", healthy), ("both", faulty))
    )
    assert "the policy collapsed" in slow and "no scalar left its usual range" in slow
    assert f"first, at step {1000 * (FAULT_AT + 1):,}" in both and signs.VALUE.name in both
    # The autopsy is of what the line above names: here the fault, not the collapse.
    assert slow.splitlines()[-1].endswith(f"ppo.autopsy {tmp_path / 'slow'}")
    assert f"ppo.autopsy {tmp_path / 'both'} --at={1000 * FAULT_AT}\n" in both


def test_points_that_are_the_same_in_every_rollout_are_said_to_show_no_collapse(tmp_path):
    rows = log()
    for row in rows:
        row["rollout/points_per_step"] = 1.0  # as in CartPole, whatever the score
    text = explain(written(tmp_path / "run", rows))
    assert (
        "points per step are 1 in" in text
        and "cannot show a collapse" in text
        and "no collapse found" not in text
    )


def test_a_log_that_is_short_says_so(tmp_path):
    assert "too few" in explain(written(tmp_path / "run", log()[:5]))


def test_a_folder_without_a_run_or_with_a_broken_log_is_refused(tmp_path):
    with pytest.raises(FolderError, match="holds no run"):
        explain(tmp_path / "nowhere")
    run = written(tmp_path / "run", log())
    run.joinpath("progress.csv").write_text("step,train/approx_kl\n1000,much\n")
    with pytest.raises(FolderError, match="not the log of a run"):
        explain(run)


def fork(folder: Path, origin: Path, step: int, rows: list[dict[str, float]]) -> Path:
    run = written(folder, rows)
    facts = {"run": str(origin), "step": step, "changes": {"gamma": [0.9, 0.5], "seed": [1, 2]}}
    (run / "origin.json").write_text(json.dumps(facts))
    return run


def test_another_run_that_has_the_name_of_the_origin_is_not_taken_for_it(tmp_path, capsys):
    run, rows = fork(tmp_path / "run", tmp_path / "origin", 20_000, log()[20:]), log()
    facts = json.loads((run / "origin.json").read_text())
    written(tmp_path / "origin", rows)
    facts["first_entry"] = origin.first_entry(tmp_path / "origin", 20_000)
    assert facts["first_entry"] and origin.first_entry(tmp_path / "origin", 500) is None
    (run / "origin.json").write_text(json.dumps(facts))
    began_from = origin.read(RunFolder(run))
    assert began_from.is_of(tmp_path / "origin", 20_000) and len(progress.history(run)) == 60
    (tmp_path / "origin").rename(tmp_path / "moved")
    assert len(progress.history(run)) == 40 and capsys.readouterr().err == ""
    rows[0]["train/approx_kl"] *= 2
    written(tmp_path / "origin", rows)
    assert len(progress.history(run)) == 40 and not began_from.is_of(tmp_path / "origin", 20_000)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"is gone, and {tmp_path / 'origin'} is another run" in said


def test_the_log_of_a_fork_continues_its_origin_s_log(tmp_path):
    rows = log()
    origin = written(tmp_path / "origin", rows)
    second = fork(tmp_path / "second", origin, 20_000, rows[20:30])
    third = fork(tmp_path / "third", second, 25_000, rows[25:])
    assert [row["step"] for row in progress.history(third)] == [row["step"] for row in rows]
    assert "forked at step 25,000, with gamma from 0.9 to 0.5, seed from 1 to 2" in explain(third)


def test_a_fork_whose_origin_is_gone_has_its_own_log(tmp_path):
    run = fork(tmp_path / "run", tmp_path / "gone", 20_000, log()[20:])
    assert len(progress.history(run)) == 40


def test_points_come_from_the_rollout_or_the_last_games():
    old = {"rollout/ep_rew_mean": 20.0, "rollout/ep_len_mean": 1600.0}
    assert progress.points(old) == 0.0125
    assert progress.points(old | {POINTS: 0.5}) == 0.5
    assert math.isnan(progress.points({}))


# Limits


def test_health_says_once_what_is_outside_for_several_entries_in_a_row():
    watch = Health()
    bad = {"train/approx_kl": 0.3, "layers/dead_dense1": 0.9, "rollout/games": 1e9}
    said = [watch.see(bad) for _ in range(ENTRIES + 3)]
    assert [len(messages) for messages in said] == [0] * (ENTRIES - 1) + [2, 0, 0, 0]
    assert "train/approx_kl is 0.3 (healthy below 0.1)" in said[ENTRIES - 1][0]
    assert "learning_rate" in said[ENTRIES - 1][0]


def test_an_explanation_says_what_is_outside_its_limits_at_the_end(tmp_path):
    text = explain(written(tmp_path / "run", log(train__approx_kl=20)))
    (said,) = [line for line in text.splitlines() if "log entries: " in line]
    pattern = r"last 5 log entries: train/approx_kl is 0\.\d+ \(healthy below 0\.1\)"
    assert re.match(pattern, said) and said.endswith(". Lower learning_rate")


def test_an_explanation_has_the_last_values_of_a_scalar_that_few_entries_have(tmp_path):
    rows = log()
    for number, row in enumerate(rows[::10]):
        row["trunk/rank"] = 100.0 if number == 0 else 1.0
    assert "log entries: trunk/rank is 1 (" in explain(written(tmp_path / "run", rows))
    rows[50]["trunk/rank"] = 100.0
    assert "trunk/rank" not in explain(written(tmp_path / "run", rows))


def test_limits_for_clipped_rewards_do_not_apply_to_other_rewards(tmp_path):
    large = log(train__grad_norm=1.0)
    for row in large:
        row["train/grad_norm"] *= 1000
    run = written(tmp_path / "run", large)
    assert "train/grad_norm is" in explain(run) and "train/grad_norm" in page_of(run)
    (run / "params.json").write_text('{"clip_rewards": false}')
    assert "train/grad_norm" not in explain(run) and "train/grad_norm" not in page_of(run)


def page_of(run: Path) -> str:
    report.write([run], run / "report.html")
    return (run / "report.html").read_text().replace("<wbr>", "")


def test_one_healthy_entry_begins_the_count_anew():
    watch = Health()
    for value in [0.3] * (ENTRIES - 1) + [0.01] + [0.3] * (ENTRIES - 1):
        assert watch.see({"train/approx_kl": value}) == []


def test_an_entry_without_the_scalar_leaves_the_count():
    watch = Health()
    for _ in range(ENTRIES - 1):
        assert watch.see({"trunk/rank": 1.0}) == [] == watch.see({"train/approx_kl": 0.01})
    assert len(watch.see({"trunk/rank": 1.0})) == 1


def test_placeholders_are_filled_in():
    assert health.metric_of("layers/change_conv1").tag == "layers/change_{layer}"
    assert not health.metric_of("nothing/of_this").limits
