"""What a run starts from, and what it knew of itself when it was saved."""

import math

import pytest

from ppo.checkpoint import Checkpoint, CheckpointError, State
from ppo.runs.level import GuardState
from ppo.runs.start import RunState, for_fork, run_of


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


def test_a_fork_has_files_of_its_own():
    saved = part("run", best_saved=3.0, seconds=5.0)
    saved.parts.update(
        log={"due": True, "sizes": {"progress.csv": 9}}, video={"wanted": True, "shown": 1}
    )
    forked = for_fork(saved)
    assert (run_of(forked).best_saved, run_of(forked).seconds) == (None, 5.0)
    assert forked.parts["log"] == {"due": True, "sizes": {}}
    assert forked.parts["video"] == {"wanted": True, "shown": None}
