"""What forks came to, from logs that are written down."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from ppo.autopsy import figure
from ppo.autopsy.__main__ import report
from ppo.autopsy.case import Case
from ppo.autopsy.changes import UNCHANGED, Change
from ppo.autopsy.forks import Plan, outcomes_of
from ppo.envs.registry import resolved
from ppo.errors import ExitCode, Refused
from ppo.files.folder import RunFolder
from ppo.settings import Params
from ppo.sweep import parallel
from ppo.sweep.grid import Run
from ppo.system.children import Children
from tests.light.test_explain import written

PEAK, BOTTOM = 5.0, -3.0
# Of the height, after each update; unchanged, less than half of it is left after two, on the mean.
KEPT = {
    (UNCHANGED, 1): [1.0, 0.8, 0.3, 0.1],
    (UNCHANGED, 2): [1.0, 0.4, 0.1, 0.1],
    ("slow", 1): [1.0, 0.9, 0.9, 0.9],
    ("slow", 2): [0.9, 0.3, 0.2, 0.0],
}
KL = {  # of which the last two are of updates after the fall
    (UNCHANGED, 1): [0.1, 0.3, 9, 9],
    (UNCHANGED, 2): [0.2, 0.6, 9, 9],
    ("slow", 1): [0.01, 0.03, 9, 9],
    ("slow", 2): [0.02, 0.06, 9, 9],
}


def plan_of(folder: Path) -> Plan:
    settings = resolved(Params(env_id="CartPole-v1", network="mlp", seed=1, threads=1))
    case = Case(settings, folder / "run", 2048, {}, PEAK, BOTTOM, None, "a fall")
    changes = [Change(UNCHANGED, {}, ""), Change("slow", {"gamma": 0.5}, "")]
    return Plan(case, folder, changes, seeds=[1, 2], updates=4, workers=1)


def write(plan: Plan, change: Change, seed: int) -> None:
    def row(number: int, kept: float, kl: float) -> dict[str, float]:
        return {
            "step": plan.case.step + plan.case.settings.steps_per_iteration * (number + 1),
            "rollout/points_per_step": BOTTOM + kept * (PEAK - BOTTOM),
            "train/approx_kl": kl,
            "train/surrogate_gain_last": -10 * kl,
        }

    series = list(zip(KEPT[change.name, seed], KL[change.name, seed], strict=True))
    series.append((7, 7))  # of an autopsy that was called before, with more updates
    written(plan.run(change, seed).folder, [row(n, *of) for n, of in enumerate(series)])


@pytest.mark.parametrize("missing", [0, 2])
def test_kl_and_gain_are_means_over_the_updates_until_the_unchanged_forks_collapse(
    missing, tmp_path
):
    plan = plan_of(tmp_path)
    for run in plan.runs():
        write(plan, next(c for c in plan.changes if c.name == run.variant), run.seed)
    log = plan.run(plan.changes[0], 2).folder / "progress.csv"
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join(rows[: len(rows) - missing]))
    unchanged, slow = outcomes_of(plan)
    for outcome, expected in ((unchanged, [0.2, 0.4]), (slow, [0.02, 0.04])):
        assert outcome.kl == pytest.approx(expected)
        assert outcome.gain == pytest.approx([-10 * kl for kl in expected])
        for kept, seed in zip(outcome.kept, plan.seeds, strict=True):
            assert kept == pytest.approx(KEPT[outcome.change.name, seed][: len(kept)])


def test_the_settings_of_a_fork_are_checked_once(tmp_path, monkeypatch):
    plan, check = plan_of(tmp_path), Mock(return_value=[])
    monkeypatch.setattr("ppo.envs.checks.check", check)
    plan.case.source.mkdir()
    RunFolder(plan.case.source).params.write_text(plan.case.settings.to_json())
    for fork in 2 * plan.runs():
        assert plan.settings(fork).seed == fork.seed
    assert check.call_count == len(plan.runs())


def test_a_fork_that_lacks_a_quantity_is_named(tmp_path):
    plan = plan_of(tmp_path)
    for run in plan.runs():
        change = next(c for c in plan.changes if c.name == run.variant)
        write(plan, change, run.seed)
    log = plan.run(plan.changes[1], 1).folder / "progress.csv"
    rows = log.read_text().splitlines()
    log.write_text("\n".join([rows[0], rows[1].replace("0.01", "nan"), *rows[2:]]) + "\n")
    with pytest.raises(Refused, match="slow, seed 1, has an update without train/approx_kl"):
        outcomes_of(plan)


def test_a_fork_that_diverged_keeps_nothing_from_then_on(tmp_path, monkeypatch):
    plan = plan_of(tmp_path)
    for run in plan.runs():
        write(plan, next(c for c in plan.changes if c.name == run.variant), run.seed)
    later, at_once = (plan.run(plan.changes[1], seed) for seed in plan.seeds)
    for run, updates in (later, 2), (at_once, 0):
        log = run.folder / "progress.csv"
        log.write_text("".join(log.read_text().splitlines(keepends=True)[: updates + 1]))

    def call(run: Run, *_: object) -> ExitCode:
        (run.folder / "diverged-000000000007.npz").touch()
        return ExitCode.DIVERGED

    monkeypatch.setattr(parallel, "finished", lambda run, _: run not in (later, at_once))
    monkeypatch.setattr(parallel, "begin_or_resume", call)
    arguments = plan.runs(), 1, Children(), "--fork=run", lambda run: None
    assert parallel.train_all(*arguments, may_diverge=True) == []
    outcomes = outcomes_of(plan)
    assert [list(kept) for kept in outcomes[1].kept] == [[1.0, 0.9, 0, 0], [0, 0, 0, 0]]
    assert "nothing is kept from then on: `slow, seed 1`, `slow, seed 2`." in report(plan, outcomes)
    figure.draw(outcomes, tmp_path / "figure.png", "two of four diverged")
    assert parallel.train_all(*arguments) == [
        f"slow, seed {n}: ended with exit code 4; see {run.log}"
        for n, run in enumerate((later, at_once), 1)
    ]


def test_a_fork_that_logged_nothing_is_named(tmp_path):
    plan = plan_of(tmp_path)
    write(plan, plan.changes[0], 1)
    with pytest.raises(Refused, match=f"{UNCHANGED}, seed 2, has no log"):
        outcomes_of(plan)
