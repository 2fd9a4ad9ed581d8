"""What a run starts from, and what it knew of itself when it was saved."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from ppo import checkpoint, train
from ppo.checkpoint import Checkpoint, CheckpointError, State, TrainerFacts
from ppo.envs.registry import resolved
from ppo.files.folder import RunFolder
from ppo.params import ParamsError
from ppo.runs.changes import forked
from ppo.runs.level import GuardState
from ppo.runs.start import RunState, for_fork, run_of
from ppo.settings import CHOSEN_AT_START, Params
from ppo.telemetry.counters import Tally


def part(name: str, **state: object) -> Checkpoint:
    return Checkpoint(1, {}, parts={name: state})


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (RunState, {"seconds": math.nan}),
        (RunState, {"seconds": -1.0}),
        (RunState, {"params": {"gamma": math.nan}}),
        (RunState, {"params": {"num_envs": "many"}}),
        (GuardState, {"watch": {"best": math.nan}}),
        (GuardState, {"watch": {"low": -math.inf}}),
        (GuardState, {"watch": {"evidence": math.nan}}),
        (GuardState, {"watch": {"recent": [math.nan]}}),
        (GuardState, {"watch": {"unknown": 1}}),
        (GuardState, {"kept": {"healthy": {"best": math.inf}}}),
    ],
    ids=str,
)
def test_a_state_that_no_run_writes_is_refused_by_its_name(kind: type[State], state: dict):
    (name,) = state
    with pytest.raises(CheckpointError, match=f"its field part.{name}.* is invalid"):
        part("part", **state).part("part", kind)


def test_a_best_score_that_an_earlier_version_stored_as_nan_is_none():
    assert run_of(part("run", best_saved=math.nan)).best_saved is None


@pytest.mark.parametrize("begin", [train.resume, lambda run, *more: train.fork(run, "new", *more)])
def test_a_change_without_effect_is_refused(begin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored = resolved(Params(env_id="CartPole-v1", network="mlp", frame_stack=2))
    RunFolder(tmp_path).params.write_text(stored.to_json())
    with pytest.raises(ParamsError) as caught:
        begin(tmp_path, {"frame_skip": 2})
    (fault,) = caught.value.faults
    assert fault.startswith("frame_skip = 2: has no effect, since CartPole-v1 is not an Atari game")
    assert [path.name for path in tmp_path.iterdir()] == ["params.json"]


@pytest.mark.parametrize("kind", [Params, dict])
def test_settings_of_a_new_run_without_effect_are_refused_in_every_form(kind, tmp_path):
    given = kind(env_id="CartPole-v1", network="mlp", frame_skip=2)
    with pytest.raises(ParamsError, match=r"^frame_skip = 2: has no effect"):
        train.run(given, tmp_path / "run")


def test_an_open_value_keeps_what_the_resumed_run_began_with(tmp_path, monkeypatch):
    began = {"seed": 5, "threads": 3, "precision": "float32", "value_gradient": "detached"}
    stored = resolved(Params(env_id="CartPole-v1", network="mlp", **began))
    RunFolder(tmp_path).params.write_text(stored.to_json())
    monkeypatch.setattr(train, "_train", lambda settings, *_: settings)
    opened = {key: Params.model_fields[key].default for key in CHOSEN_AT_START}
    assert train.resume(tmp_path, opened).model_dump() == stored.model_dump()


@pytest.mark.parametrize(
    ("saved", "kept"), [(None, set()), ("progress.csv", {"params.json", ".lock", "progress.csv"})]
)
def test_a_new_run_that_fails_leaves_nothing_unless_it_has_saved_something(tmp_path, saved, kept):
    for name in filter(None, ("params.json", "origin.json", ".lock", saved)):
        (tmp_path / name).touch()
    with pytest.raises(OSError, match="full"), train._emptied_if_it_fails(RunFolder(tmp_path)):
        raise OSError("full")
    assert {path.name for path in tmp_path.iterdir()} - {"origin.json"} == kept
    assert (tmp_path / "origin.json").exists() == bool(kept)


def test_a_fork_has_files_of_its_own():
    saved = part("run", best_saved=3.0, seconds=5.0)
    log = {"due": True, "means": {"train/approx_kl": (5.0, 5)}}
    saved.parts.update(log=log | {"sizes": {"progress.csv": 9}}, video={"wanted": True, "shown": 1})
    forked = for_fork(saved)
    assert (run_of(forked).best_saved, run_of(forked).seconds) == (None, 5.0)
    assert forked.parts["log"] == log | {"sizes": {}}
    assert for_fork(saved, changed=True).parts["log"] == log | {"sizes": {}, "means": {}}
    assert forked.parts["video"] == {"wanted": True, "shown": None}


def test_a_fork_with_another_learning_rate_keeps_the_cuts_by_the_kl_alone(tmp_path):
    settings = resolved(Params(seed=1, threads=1, learning_rate_kl=0.01))
    tally = Tally(rollbacks=1, rate_share=1 / 8, kl_share=1 / 2)
    saved = Checkpoint(8192, {}, TrainerFacts(tally=tally))
    saved = saved.with_part("run", RunState(params=settings.model_dump()))
    slower = settings.model_copy(update={"learning_rate": 1e-5})
    saved.parts["log"] = {"means": {"train/approx_kl": (5.0, 5)}}
    begun = forked(saved, tmp_path, slower).checkpoint
    assert begun and not begun.parts["log"]["means"]
    assert begun.trainer.tally == Tally(kl_share=1 / 2)


@pytest.mark.parametrize(("key", "counts"), [("noop_max", False), ("clip_rewards", True)])
def test_scores_of_other_rules_do_not_count_in_a_fork(key, counts, tmp_path):
    settings = resolved(Params(seed=1, threads=1))
    tally = Tally(iteration=8, episodes=100, best_score=9.0, recent=((5.0, 9),) * 100)
    saved = Checkpoint(8192, {}, TrainerFacts(tally=tally))
    saved = saved.with_part("run", RunState(params=settings.model_dump()))
    changed = settings.model_copy(update={key: not getattr(settings, key), "stop_at_score": 8.0})
    begun = forked(saved, tmp_path, changed).checkpoint
    assert begun and begun.trainer.tally == (tally if counts else Tally(iteration=8))
    forked(saved, tmp_path, changed.model_copy(update={"noop_max": 1, "stop_at_score": 5}))


def test_a_run_ends_after_whole_rollouts_from_where_it_began():
    settings = Params(num_envs=6, num_steps=40, num_minibatches=5, total_steps=1000)
    assert settings.whole_steps == settings.end_from(240) == 1200
    for step in (100, 820, 1060):
        assert settings.end_from(step) == 1060  # a fork that began at step 100
        assert Tally().ends_run(step, settings) == (step == 1060)


def finished(folder: Path) -> RunFolder:
    """A run that is done at step 8,192 with a score of 5, with an evaluation due there."""
    reached = TrainerFacts(tally=Tally(recent=((5.0, 9),) * 100))
    settings = resolved(Params(seed=1, threads=1, num_envs=4, num_steps=8, total_steps=8192))
    run = RunFolder(folder)
    run.path.mkdir()
    run.params.write_text(settings.to_json())
    for saved in (4096, 8192):
        due = {"evaluation": {"due": True}}
        state = Checkpoint(saved, {"weights/0": np.zeros(2)}, reached, due)
        state = state.with_part("run", RunState(params=settings.model_dump()))
        checkpoint.save(run, state, kept=2)
    return run


def test_a_resume_refuses_what_no_training_will_use(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "_train", lambda *_, **__: "resumed")
    run = finished(tmp_path / "run").path
    with pytest.raises(ParamsError, match="so gamma would change nothing"):
        train.resume(run, ["gamma=0.9", "evaluation_games=3"])
    for changes in (["evaluation_games=3"], [], ["gamma=0.9", "total_steps=9000"]):
        assert train.resume(run, changes) == "resumed"


@pytest.mark.parametrize(
    ("step", "changes", "more"),
    [
        ("newest", ["learning_rate=1e-4"], ["total_steps=16384"]),
        ("newest", [], ["total_steps=16384"]),
        ("newest", ["stop_at_score=5"], ["total_steps=16384", "stop_at_score=null"]),
        (4096, ["stop_at_score=5"], ["stop_at_score=null"]),
        (4096, ["total_steps=4096"], ["total_steps=8192"]),
        ("newest", ["num_steps=1000"], ["total_steps=16384"]),
    ],
)
def test_a_fork_that_would_train_nothing_is_refused(step, changes, more, tmp_path, monkeypatch):
    run = finished(tmp_path / "run")
    monkeypatch.setattr(train, "_train", lambda *_, **__: None)
    sets = " --set ".join(more)
    said = f"nothing. Use --set {sets}, or fork an earlier checkpoint, {run.path}@STEP (in Python: "
    with pytest.raises(ParamsError, match=re.escape(said)):
        train.fork(run.path, tmp_path / "fork", changes, step)
    train.fork(run.path, tmp_path / "fork", [*changes, *more], step)
