"""The autopsy of a fall: what it forks and changes, and a real one that is called again."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ppo import checkpoint, train
from ppo.autopsy import __main__ as autopsy
from ppo.autopsy.case import Case, case_of
from ppo.autopsy.changes import UNCHANGED, Change, changes_for
from ppo.autopsy.forks import Plan
from ppo.checkpoint import Checkpoint, CheckpointError, TrainerFacts
from ppo.envs.registry import resolved
from ppo.errors import ExitCode, Refused
from ppo.files import origin
from ppo.files.folder import RunFolder
from ppo.files.lock import owned
from ppo.files.origin import Origin
from ppo.params import ParamsError
from ppo.runs.start import RunState
from ppo.settings import Params
from ppo.system import children
from ppo.telemetry.counters import Tally
from tests.forked import start_with_log
from tests.light.test_explain import written

ROOT = Path(__file__).parents[1]
CATCH = resolved(
    Params(
        env_id="tests.pixel_game:Catch-v0",
        network="a3c",
        num_envs=4,
        num_steps=8,
        num_epochs=2,
        num_minibatches=4,
        learning_rate=1e-3,
        learning_rate_schedule="linear",
        total_steps=3200,
        target_kl=0.05,
        precision="float32",
        seed=1,
        threads=1,
    )
)
LEVELS = [0.0] * 15 + [1.0] * 45 + [0.1] * 40  # falls after entry 60, at step 1,920


def rows(levels: list[float] = LEVELS) -> list[dict[str, float]]:
    wiggle = [0.01 * (n * 7 % 5 - 2) for n in range(len(levels))]
    return [
        {
            "step": 32.0 * (n + 1),
            "rollout/points_per_step": level + w,
            "train/advantage_std": 0.05,
        }
        for n, (level, w) in enumerate(zip(levels, wiggle, strict=True))
    ]


def fallen(
    folder: Path, params: Params = CATCH, checkpoints: tuple[int, ...] = (1600, 1888)
) -> Path:
    run = written(folder, rows(), params.to_json())
    for step in checkpoints:
        checkpoint.save(RunFolder(run), Checkpoint(step, {"weights/0": np.zeros(2)}), 9)
    return run


def test_the_fork_is_from_the_checkpoint_before_the_fatal_update(tmp_path):
    case = case_of(fallen(tmp_path / "run"))
    assert (case.source, case.step) == (tmp_path / "run", 1888)
    assert case.peak == pytest.approx(1, abs=0.03) and case.bottom == pytest.approx(0, abs=0.03)
    assert case.kept(np.array([case.peak, case.bottom])) == pytest.approx([1, 0])
    # The rate of the step is kept, because a fork's own schedule would differ.
    assert case.settings.learning_rate == pytest.approx(1e-3 * (1 - 1888 / 3200))


@pytest.mark.parametrize(("rate_then", "share"), [(1e-3, 1 / 8), (2e-3, 1.0)])
def test_the_rate_includes_the_rollbacks_of_the_run_but_not_of_a_run_with_another_rate(
    tmp_path, rate_then, share
):
    origin = fallen(tmp_path / "origin", checkpoints=())
    tally = Tally(rollbacks=1, rate_share=1 / 8, kl_share=1 / 2)
    then = RunState(params=CATCH.model_dump() | {"learning_rate": rate_then})
    saved = Checkpoint(1888, {}, TrainerFacts(tally=tally)).with_part(RunState.PART, then)
    checkpoint.save(RunFolder(origin), saved, 9)
    settings = CATCH.model_copy(update={"learning_rate_kl": 0.01})
    run = written(tmp_path / "run", rows()[59:], settings.to_json())
    (run / "origin.json").write_text(
        json.dumps(
            {"run": str(origin), "step": 1888, "changes": {"learning_rate": [rate_then, 1e-3]}}
        )
    )
    expected = share * 1e-3 * (1 - 1888 / 3200)
    assert case_of(run).settings.learning_rate == pytest.approx(expected)


def test_a_checkpoint_after_the_collapse_is_of_no_use(tmp_path):
    with pytest.raises(CheckpointError, match="keep_checkpoints_from"):
        case_of(fallen(tmp_path / "run", checkpoints=(2000,)))


def test_without_its_own_checkpoint_a_fork_is_traced_to_its_origin(tmp_path):
    origin = fallen(tmp_path / "origin", CATCH.model_copy(update={"num_minibatches": 2}))
    run = written(tmp_path / "run", rows()[59:], CATCH.to_json())
    message = {"run": str(origin), "step": 1888, "changes": {"num_minibatches": [2, 4]}}
    (run / "origin.json").write_text(json.dumps(message))
    case = case_of(run)
    assert (case.source, case.step) == (origin, 1888)
    assert case.differing["num_minibatches"] == 4
    assert "seed" not in case.differing


def test_a_run_that_did_not_collapse_needs_a_step(tmp_path):
    run = written(tmp_path / "run", rows(LEVELS[:60]), CATCH.to_json())
    checkpoint.save(RunFolder(run), Checkpoint(800, {}), 9)
    with pytest.raises(Refused, match="--at=STEP"):
        case_of(run)
    assert case_of(run, at=900).step == 800


def test_every_fork_changes_one_thing(tmp_path):
    case = case_of(fallen(tmp_path / "run"))
    changes = autopsy._changes(case, [], [])
    plan = Plan(case, tmp_path / "a", changes, [1, 2], updates=3, workers=1)
    by_change = {run.variant: set(run.overrides) for run in plan.runs() if run.seed == 1}
    assert list(by_change)[:4] == [UNCHANGED, "rate / 2", "rate / 4", "rate / 8"]
    assert len(plan.runs()) == 2 * len(changes)
    for change in changes[1:]:
        extra = by_change[change.name] - by_change[UNCHANGED]
        assert {text.split("=")[0] for text in extra} <= {*change.settings}, change.name
        assert extra, change.name
    assert f"total_steps={case.step + 3 * 32}" in by_change[UNCHANGED]


@pytest.mark.parametrize(
    ("settings", "there", "absent"),
    [
        ({"target_kl": 0.05}, "no early stop", "twice the epochs"),
        ({"target_kl": None}, "twice the epochs", "no early stop"),
        ({"target_kl": None}, "KL limit per minibatch", "no KL limit per minibatch"),
        ({"minibatch_kl_limit": 0.1}, "no KL limit per minibatch", "KL limit per minibatch"),
        ({"normalize_advantages": False}, "beta 2 of 0.9", "advantages floored"),
        ({"value_gradient": "detached"}, "moments reset", "value detached"),
        ({"delta_target_policy": "logit"}, "quadratic loss", "logit target"),
        ({"peaked_policy_loss": True}, "logit target", "quadratic loss"),
        ({"num_minibatches": 2}, "whole rollout a minibatch", "minibatches x 4 in size"),
        ({"num_minibatches": 4}, "whole rollout a minibatch", "minibatches x 4 in size"),
        ({"num_minibatches": 8}, "minibatches x 4 in size", "no KL limit per minibatch"),
        ({"num_minibatches": 1}, "value detached", "whole rollout a minibatch"),
        ({"minibatch_kl_limit": 0.1}, "value detached", "twice the epochs"),
    ],
)
def test_only_what_can_be_changed_is(settings, there, absent):
    names = {change.name for change in changes_for(CATCH.model_copy(update=settings), 0.05)}
    assert there in names and absent not in names


def test_the_floor_is_a_multiple_of_the_standard_deviation_before_the_collapse():
    by_name = {change.name: change for change in changes_for(CATCH, 0.05)}
    assert by_name["advantages floored"].settings == {"advantage_std_floor": 0.25}
    by_name = {change.name: change for change in changes_for(CATCH, None)}
    assert by_name["advantages floored"].settings == {"advantage_std_floor": 0.3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds=1,1"], "given twice"),
        (["--updates=0"], "--updates"),
        (["--workers=x"], "--workers"),
        (["--at=x"], "--at"),
        (["--only=nothing"], "there are: KL limit per minibatch, no early stop"),
        (["--change=odd:gamma=7"], "gamma"),
        (["--change=two:workers=2"], "two: workers = 2: each run here is one process"),
        (["--change=:gamma=1"], "--change ':gamma=1': it has no name"),
        (["--change=slow"], "--change 'slow': it changes nothing"),
        (["--change=unchanged:gamma=0.9"], "there is a 'unchanged' already"),
        (["--only=moments reset", "--change=moments reset:gamma=0.9"], "already; rename it"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_created(arguments, message, tmp_path, capsys):
    run = fallen(tmp_path / "run")
    assert autopsy.main([str(run), f"--logdir={tmp_path / 'a'}", *arguments]) == ExitCode.REFUSED
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", [".", "..", "../run"])
def test_an_autopsy_from_within_the_run_is_beside_it(name, tmp_path, monkeypatch):
    run = fallen(tmp_path / "run")
    (run / "inner").mkdir()
    monkeypatch.chdir(run / "inner" if name == ".." else run)
    plan = autopsy._plan(autopsy.command_line().parse_args([name]))
    assert plan.logdir.resolve() == tmp_path / "run-autopsy"


def begun(folder: Path, case: Case, run: Path, **edited: object) -> Plan:
    """A plan of which one fork has begun, with what is edited of its settings."""
    plan = Plan(case, folder, autopsy._changes(case, [], ["moments reset"]), [1], 2, 1)
    fork = plan.run(plan.changes[-1], 1)
    fork.folder.mkdir(parents=True)
    settings = plan.settings(fork).model_copy(update=edited)
    (fork.folder / "params.json").write_text(settings.to_json())
    origin.write(RunFolder(fork.folder), Origin(run, 1888, {}))
    return plan


def test_forks_of_another_case_or_change_do_not_count(tmp_path):
    run = fallen(tmp_path / "run")
    case = case_of(run)
    autopsy._check(begun(tmp_path / "a", case, run))
    autopsy._check(begun(tmp_path / "b", case, run, total_steps=9999))  # other total steps
    with pytest.raises(ParamsError, match="another adam_reset than true"):
        autopsy._check(begun(tmp_path / "c", case, run, adam_reset=False))
    autopsy._check(begun(tmp_path / "moved", case, tmp_path / "before" / "run"))
    elsewhere = replace(case, step=1600)
    with pytest.raises(ParamsError, match=r"was forked from .* at step 1,888, not from .* 1,600"):
        autopsy._check(begun(tmp_path / "d", elsewhere, run))
    plan = begun(tmp_path / "e", case, run)
    other = Origin(run, 1888, first_entry="of another run")
    origin.write(RunFolder(plan.runs()[-1].folder), other)
    with pytest.raises(ParamsError, match="was forked from another run, which was called"):
        autopsy._check(plan)


def test_a_worker_of_a_run_makes_no_autopsy(tmp_path, monkeypatch, capsys):
    cluster = {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}
    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert autopsy.main([str(fallen(tmp_path / "run"))]) == ExitCode.REFUSED
    assert "this process is worker 1 of 2" in capsys.readouterr().err
    assert not (tmp_path / "run-autopsy").exists()


@pytest.mark.parametrize("name", [".", "../run"])
def test_a_moved_run_is_known_from_within(name, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    assert Origin(tmp_path / "before" / "run", 1888).is_of(Path(name), 1888)
    assert not Origin(tmp_path / "before" / "other", 1888).is_of(Path(name), 1888)


def test_a_run_of_several_workers_is_refused(tmp_path):
    case = case_of(fallen(tmp_path / "run"))
    many = replace(case, settings=case.settings.model_copy(update={"workers": 2}))
    with pytest.raises(ParamsError, match="the run has 2 workers"):
        autopsy._check(Plan(many, tmp_path / "a", [], [1], updates=2, workers=1))


def test_only_and_own_changes_choose_what_is_forked(tmp_path):
    case = case_of(fallen(tmp_path / "run"))
    mine = [("mine", ["gamma=0.9"])]
    names = [change.name for change in autopsy._changes(case, mine, ["moments reset"])]
    assert names[4:] == ["moments reset", "mine"]
    with pytest.raises(ParamsError):
        autopsy._changes(case, [], ["none such"])


def test_a_smaller_rate_of_the_users_own_is_a_control_and_a_larger_one_is_not(tmp_path):
    case = case_of(fallen(tmp_path / "run"))
    settings = ("learning_rate=1e-6", "learning_rate=0.1", "gamma=0.9")
    given = [(setting, [setting]) for setting in settings]
    *_, less, more, other = autopsy._changes(case, given, [])
    assert [less.smaller_rate, more.smaller_rate, other.smaller_rate] == [True, False, False]


def test_forks_have_as_many_updates_whatever_the_size_of_their_rollouts(tmp_path):
    case = case_of(fallen(tmp_path / "run"))
    for size in ({}, {"num_steps": 64}, {"num_envs": 16}, {"num_steps": 4}):
        plan = Plan(case, tmp_path, [Change("sized", size, "")], [1], updates=3, workers=1)
        settings = plan.settings(plan.run(plan.changes[0], 1))
        batch = settings.num_envs * settings.num_steps
        assert settings.total_steps - case.step == 3 * batch, size


def test_a_case_has_the_settings_of_the_collapse_and_not_of_a_later_resume(tmp_path):
    run = fallen(tmp_path / "run", CATCH.model_copy(update={"learning_rate": 1e-5, "gamma": 0.5}))
    then = RunState(params=json.loads(CATCH.to_json()))
    saved = Checkpoint(1888, {"weights/0": np.zeros(2)}).with_part("run", then)
    checkpoint.save(RunFolder(run), saved, 9)
    case = case_of(run)
    assert case.settings.learning_rate == pytest.approx(1e-3 * (1 - 1888 / 3200))
    assert case.differing["gamma"] == CATCH.gamma


@pytest.mark.parametrize("key", ["env_id", "network"])
def test_no_module_is_imported_that_only_a_checkpoint_or_the_origin_names(key, tmp_path):
    run, settings = fallen(tmp_path / "run"), json.loads(CATCH.to_json())
    settings[key] = "planted:Name"
    then = RunState(params=settings)
    saved = Checkpoint(1888, {"weights/0": np.zeros(2)}).with_part("run", then)
    checkpoint.save(RunFolder(run), saved, 9)
    assert getattr(case_of(run).settings, key) == getattr(CATCH, key)
    fork = written(tmp_path / "fork", rows()[59:], CATCH.to_json())
    (fork / "origin.json").write_text(json.dumps({"run": str(run), "step": 1888, "changes": {}}))
    (run / "params.json").write_text(json.dumps(settings))
    with pytest.raises(Refused, match="another game or network"):
        case_of(fork)


def test_changes_of_small_settings_are_not_rounded_to_nothing():
    small = CATCH.model_copy(update={"clip_range": 0.0001})
    by_name = {change.name: change.settings for change in changes_for(small, 5e-5)}
    assert by_name["clip range / 4"]["clip_range"] == pytest.approx(2.5e-5)
    assert by_name["advantages floored"]["advantage_std_floor"] == pytest.approx(2.5e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A short run, with a checkpoint of each iteration."""
    logdir = tmp_path_factory.mktemp("autopsy") / "run"
    params = CATCH.model_copy(
        update={
            "total_steps": 640,
            "log_interval": 32,
            "checkpoint_interval": 32,
            "keep_checkpoints_from": 0,
            "num_minibatches": 2,
        }
    )
    train.run(params, logdir)
    return logdir


def test_an_autopsy_that_was_stopped_continues_and_writes_its_verdict(trained, monkeypatch, capsys):
    folder = trained.with_name("run-autopsy")
    arguments = [str(trained), "--at=480", "--seeds=1", "--updates=2", "--workers=2"]
    arguments += ["--only=moments reset"]
    command = [sys.executable, "-m", "ppo.autopsy", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)
    try:
        assert any(line.endswith(": begins\n") for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == ExitCode.STOPPED
    assert not (folder / "verdict.md").exists()

    monkeypatch.setattr(children, "start", start_with_log)
    assert autopsy.main(arguments) == ExitCode.DONE, capsys.readouterr()
    text = (folder / "verdict.md").read_text()
    assert text.partition("\n![")[0].rstrip() in capsys.readouterr().out  # without the figure
    assert "| moments reset | `adam_reset=true` |" in text
    assert (folder / "figure.png").stat().st_size > 10_000
    first = checkpoint.newest(RunFolder(folder / UNCHANGED / "seed-1"))
    assert first.step == 480 + 2 * 32

    with owned(folder):
        assert autopsy.main(arguments) == ExitCode.REFUSED
    assert capsys.readouterr().err == f"{folder} is in use by another process; wait for it\n"

    assert autopsy.main(arguments) == ExitCode.DONE
    assert capsys.readouterr().out.count("was done already") == 5
    assert (folder / "verdict.md").read_text() == text
