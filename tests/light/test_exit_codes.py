"""Each error of a run or a command has its exit code and one message."""

import io
import os
import signal
import sys

import numpy as np
import pytest

import run_atari
from ppo import train
from ppo.checkpoint import CheckpointError, MisfitError, NewerVersionError, NoCheckpoint
from ppo.envs.episode import EpisodeMismatch
from ppo.errors import (
    Collapsed,
    Diverged,
    EnvironmentFailed,
    NotFinite,
    Refused,
    Stopped,
    WorkerLost,
    WorkersDiffer,
)
from ppo.files.folder import FolderError
from ppo.params import ParamsError
from ppo.replay import __main__ as replay
from ppo.system import children
from ppo.system.command import run_command
from ppo.system.signals import STOPS
from ppo.workers.cluster import ClusterError


def saved_before(error: Exception) -> Exception:
    error.add_note("Step 7 is saved.")
    return error


@pytest.mark.parametrize(
    ("outcome", "code", "part"),
    [
        (OSError(28, "No space left on device", "a.csv"), 1, "a.csv: No space left on device"),
        (CheckpointError("none is valid"), 1, "none is valid"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 1, "interrupted"),
        (NoCheckpoint("none"), 2, "none"),
        (MisfitError(7, "shapes"), 2, "shapes"),
        (NewerVersionError("format 9"), 2, "format 9"),
        (ClusterError("no HOST:PORT"), 2, "no HOST:PORT"),
        (Refused("no GPU"), 2, "no GPU"),
        (WorkersDiffer("threads"), 2, "threads"),
        (EpisodeMismatch("other games"), 2, "--resume --new-games"),
        (Stopped("stopped at step 7"), 3, "stopped at step 7"),
        (Diverged(7, {}), 4, "after step 7"),
        (NotFinite(np.zeros(2)), 4, "not finite"),
        (Collapsed(7, 3), 5, "after 3 rollbacks"),
        (WorkerLost(1, "closed"), 6, "worker 1 of the run was lost"),
        (WorkerLost(1, "closed", begun=False), 6, "nothing had begun"),
        (FolderError("run holds a run"), 2, "run holds a run"),
        (ParamsError(["gamma = 2"]), 2, "gamma = 2"),
        (saved_before(EnvironmentFailed("it raised")), 1, "it raised. Step 7 is saved."),
    ],
    ids=lambda value: str(value) if isinstance(value, int | str) else type(value).__name__,
)
def test_each_end_of_a_run_has_its_exit_code_and_one_line(
    outcome, code, part, monkeypatch, tmp_path, capsys
):
    def resume(*_: object, **__: object) -> None:
        raise outcome

    monkeypatch.setattr(train, "resume", resume)
    assert run_atari.main([f"--logdir={tmp_path}", "--resume"]) == code
    said = capsys.readouterr()
    assert part in said.err and said.err.count("\n") == 1 and said.out == ""


@pytest.mark.parametrize("outcome", [None, Stopped("stopped at step 7"), WorkerLost(1, "closed")])
def test_the_exit_code_of_a_run_outlives_its_output(outcome, monkeypatch, tmp_path):
    def resume(*_: object, **__: object) -> None:
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


@pytest.mark.parametrize(
    ("number", "stopped", "code", "message"),
    [
        (signal.SIGINT, None, 1, "interrupted; files that were complete remain\n"),
        (signal.SIGINT, "call it again", 3, "call it again\n"),
        (signal.SIGTERM, "call it again", 3, "call it again\n"),
    ],
)
def test_a_signal_ends_a_command_with_the_message_of_what_it_has_saved(
    number, stopped, code, message, capsys
):
    assert run_command(lambda: os.kill(os.getpid(), number), stopped) == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("command", "work", "arguments"),
    [
        (run_atari.main, "ppo.cli.inspection.check_run", ["--logdir=run", "--report"]),
        (run_atari.main, "ppo.autopsy.explain.explain", ["--logdir=run", "--explain"]),
        (replay.main, "ppo.replay.__main__.unusable", ["game.json"]),
    ],
)
def test_sigterm_interrupts_a_command_that_does_not_train(
    command, work, arguments, monkeypatch, capsys
):
    monkeypatch.setattr(work, lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("it is not interrupted"))
    try:
        assert command(arguments) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "interrupted; files that were complete remain\n"


def test_an_error_that_follows_from_a_lack_of_memory_is_reported_as_that(capsys):
    class Full(io.BytesIO):
        def write(self, _):
            self.close()
            raise MemoryError

    assert run_command(lambda: np.savez(Full(), weights=np.zeros(9))) == 1
    assert capsys.readouterr().err == "out of memory\n"


def test_a_mistake_in_the_code_keeps_its_traceback():
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(command)


def test_a_current_folder_that_was_removed_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run_command(lambda: pytest.fail("it began")) == 2
    assert capsys.readouterr().err == "the current folder was removed; change to another with cd\n"


def test_a_full_disk_under_the_output_is_reported_once(monkeypatch, capsys):
    with open("/dev/full", "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert run_command(lambda: print("done")) == 1
    assert capsys.readouterr().err == "[Errno 28] No space left on device\n"


def test_a_failed_child_is_noticed_even_if_the_parent_ignores_children():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert run_command(lambda: children.run(["false"]).returncode) == 1
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_command_can_be_stopped_even_if_the_parent_blocks_signals():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        blocked = signal.SIG_BLOCK, []  # adds none and returns those that are blocked
        assert run_command(lambda: len(signal.pthread_sigmask(*blocked) & {*STOPS})) == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
