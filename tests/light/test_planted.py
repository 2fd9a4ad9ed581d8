"""Real logs of runs with one fault planted in each, and of the same runs without one.

tests/logs has of each what `--explain` reads, from a score of entries before the fault to some
after it; docs/explain.md has the commands that made them.
"""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ppo.autopsy import signs
from ppo.autopsy.explain import explain

ROOT = Path(__file__).parents[2]
LOGS = ROOT / "tests" / "logs"
FAULTS = {
    "none": None,
    "rate-x-10": signs.STEPS,
    "lambda-0": signs.ADVANTAGES,
    "clip-off": signs.TRUST,
    "rewards-x-1000": signs.REWARDS,
    "value-coef-x-100": signs.VALUE,
    "entropy-coef-0.5": signs.ENTROPY,
    "trunk-perturbed": signs.WEIGHTS,
}
FIRST_WITH_FAULT = {"pong": 2_062_336, "catch": 14_848}
# The entropy of an update is a mean over its epochs, so it is off only one update later.
LATER = {("catch", "entropy-coef-0.5"): 15_360}
MISSED = {("pong", "lambda-0"), ("catch", "lambda-0")}
# How many later signs of other causes are named. No second fault was planted.
CONSEQUENCES = {("catch", "rate-x-10"): 1, ("catch", "rewards-x-1000"): 2}
CONSEQUENCES |= {("pong", "entropy-coef-0.5"): 1, ("pong", "rewards-x-1000"): 1}


@pytest.mark.parametrize("game", FIRST_WITH_FAULT)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named_with_its_entry(game, fault, tmp_path):
    shutil.copy(LOGS / f"{game}-{fault}.csv", tmp_path / "progress.csv")
    (tmp_path / "params.json").write_text("{}")
    text, cause = explain(tmp_path), FAULTS[fault]
    if cause is None or (game, fault) in MISSED:
        assert "a sign of" not in text
    else:
        assert f"\na sign of: {cause.name}\n" in text
        at = LATER.get((game, fault), FIRST_WITH_FAULT[game])
        assert f"first, at step {at:,}:" in text
    assert text.count("\nlater, ") == CONSEQUENCES.get((game, fault), 0)


def test_each_log_is_of_a_fault():
    names = {path.stem for path in LOGS.glob("*.csv")}
    assert names == {f"{game}-{fault}" for game in FIRST_WITH_FAULT for fault in FAULTS}


def test_the_entries_come_from_a_run():
    with open(LOGS / "pong-none.csv", newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps)) and len(steps) > signs.BEFORE


def test_a_run_with_a_fault_starts_tensorflow_itself():
    """Otherwise TensorFlow reads its variables too early, and the run warns of other bits."""
    code = "import sys; from benchmarks import faults; faults.plant('clip off', 1)"
    code += "; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
