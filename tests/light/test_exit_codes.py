"""What the command answers to each way in which a run can end other than done."""

import os
import sys

import numpy as np
import pytest

import run_atari
from ppo import train
from ppo.checkpoint import CheckpointError, MisfitError, NewerVersionError, NoCheckpoint
from ppo.envs.episode import EpisodeMismatch
from ppo.outcomes import Collapsed, Diverged, NotFinite, Stopped, WorkerLost, WorkersDiffer
from ppo.process.cluster import ClusterError
from ppo.process.device import DeviceError


@pytest.mark.parametrize(
    ("outcome", "code", "told"),
    [
        (OSError(28, "No space left on device", "a.csv"), 1, "a.csv: No space left on device"),
        (CheckpointError("none is valid"), 1, "none is valid"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 1, "interrupted"),
        (NoCheckpoint("none"), 2, "none"),
        (MisfitError(7, "shapes"), 2, "shapes"),
        (NewerVersionError("format 9"), 2, "format 9"),
        (ClusterError("no HOST:PORT"), 2, "no HOST:PORT"),
        (DeviceError("no GPU"), 2, "no GPU"),
        (WorkersDiffer("threads"), 2, "threads"),
        (EpisodeMismatch("other games"), 2, "--resume --new-games"),
        (Stopped("stopped at step 7"), 3, "stopped at step 7"),
        (Diverged(7, {}), 4, "after step 7"),
        (NotFinite(np.zeros(2)), 4, "not finite"),
        (Collapsed(7, 3), 5, "after 3 rollbacks"),
        (WorkerLost(1, "closed"), 6, "worker 1 of the run was lost"),
        (WorkerLost(1, "closed", begun=False), 6, "nothing had begun"),
    ],
    ids=lambda value: str(value) if isinstance(value, int | str) else type(value).__name__,
)
def test_each_end_of_a_run_has_its_exit_code_and_one_line(
    outcome, code, told, monkeypatch, tmp_path, capsys
):
    def resume(*_: object) -> None:
        raise outcome

    monkeypatch.setattr(train, "resume", resume)
    assert run_atari.main([f"--logdir={tmp_path}", "--resume"]) == code
    said = capsys.readouterr()
    assert told in said.err and said.err.count("\n") == 1 and said.out == ""


@pytest.mark.parametrize("outcome", [None, Stopped("stopped at step 7"), WorkerLost(1, "closed")])
def test_the_exit_code_of_a_run_outlives_its_output(outcome, monkeypatch, tmp_path):
    def resume(*_: object) -> None:
        print("on its way")
        if outcome:
            raise outcome

    monkeypatch.setattr(train, "resume", resume)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as out, open(os.dup(writer), "w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        code = run_atari.main([f"--logdir={tmp_path}", "--resume"])
    assert code == {Stopped: 3, WorkerLost: 6}.get(type(outcome), 0)
