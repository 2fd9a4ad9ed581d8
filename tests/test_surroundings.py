"""What surrounds a run: streams, terminals, rights, memory, other files in its folder."""

import json
import os
import pty
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import run_atari
from ppo import checkpoint, params, train
from ppo.checkpoint import load_weights
from ppo.evaluate.games import evaluate_run
from ppo.files.folder import RunFolder
from ppo.settings import Params
from ppo.system import numerics
from tests.test_command import (
    CART,
    COMMAND,
    Done,
    answer,
    checkpoint_steps,
    command,
    environment,
    settings_file,
    steps_of,
    tree,
)

SETTINGS = CART | {"total_steps": 128, "checkpoint_interval": 64, "video_interval": 0}


def started(top: Path, logdir: str, **streams: object) -> subprocess.Popen:
    line = [
        sys.executable,
        COMMAND,
        f"--logdir={logdir}",
        f"--pfile={settings_file(top, SETTINGS)}",
    ]
    return subprocess.Popen(line, cwd=top, **streams)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def top(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("surroundings")


@pytest.fixture(scope="module")
def plain(top) -> Path:
    """A run in good surroundings."""
    train.run(Params(**SETTINGS), top / "plain")
    return top / "plain"


def same_run(one: Path, other: Path) -> bool:
    pairs = zip(load_weights(one), load_weights(other), strict=True)
    return steps_of(one) == steps_of(other) and all(np.array_equal(a, b) for a, b in pairs)


# --- streams and variables


def test_run_continues_if_nobody_reads_its_output_any_more(top, plain):
    with started(
        top, "unread", env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "CartPole-v1 with seed 1 and 1 thread\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert same_run(top / "unread", plain)


def test_run_without_any_stream_is_a_run(top, plain):
    def close_all() -> None:
        for number in range(3):
            os.close(number)

    with started(top, "closed", env=environment(), preexec_fn=close_all) as process:
        pass
    assert process.returncode == 0
    assert same_run(top / "closed", plain)
    assert (top / "closed" / ".lock").read_bytes() == b""  # what is printed went into no file


def test_terminal_that_knows_only_ascii_shows_the_run(top, plain):
    ours, theirs = pty.openpty()
    strange = {
        "PYTHONIOENCODING": "ascii",
        "TERM": "xterm",
        "KERAS_BACKEND": "jax",
        "COLUMNS": "80",
    }
    with started(top, "ascii", env=environment(**strange), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while part := _read(ours):
            shown += part
    os.close(ours)
    assert process.returncode == 0, shown
    assert b"PPO ? CartPole-v1 ? ascii" in shown
    assert b"done, at step 128" in shown
    assert same_run(top / "ascii", plain)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""


HERE = numerics.processor()
# Each changes the weights, the precision only where the processor has bfloat16.
NUMERIC = {
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
}


def half_done(plain: Path, folder: Path) -> Path:
    """A copy of the run as it was in the middle."""
    shutil.copytree(plain, folder)
    (folder / "checkpoints" / "step-000000000128.ckpt").unlink()
    return folder


def test_variables_that_would_change_the_weights_are_ignored_with_a_message(top, plain):
    folder = half_done(plain, top / "ignored")
    done = command(top, f"--logdir={folder}", "--resume", **NUMERIC)
    assert (done.code, " was " in done.out) == (0, False)
    assert done.err.startswith("ignored, since it would change a run's results: ")
    assert done.err.count("\n") == 1
    assert all(f"{name}={value}" in done.err for name, value in NUMERIC.items())
    assert same_run(folder, plain)


def test_a_resume_with_another_variable_that_matters_says_so(top, plain, monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    done = answer(top, f"--logdir={half_done(plain, top / 'tf32')}", "--resume")
    assert (done.code, done.err) == (0, "")
    assert "environment was default and is NVIDIA_TF32_OVERRIDE=0: the run's bits may" in done.out


@pytest.mark.parametrize("begin", [train.resume, train.fork])
def test_a_resume_or_a_fork_on_another_processor_says_so(begin, top, plain, monkeypatch, capsys):
    monkeypatch.setattr(numerics, "processor", lambda: "another one")
    if begin is train.fork:
        train.fork(plain, top / "elsewhere", step=64)
    else:
        train.resume(half_done(plain, top / "moved"))
    said = f"processor was {HERE} and is another one: the run's bits may differ"
    assert said in capsys.readouterr().out


def test_description_may_be_read_in_part():
    line = [sys.executable, COMMAND, "--describe-metrics"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdout=pipe, stderr=pipe, env=environment()) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# --- refusals: one line, the exit code, and nothing is changed


@dataclass
class Case:
    done: Done
    path: Path
    unchanged: bool


NEWER = b"ppo-checkpoint-99 " + b"0" * 64 + b"\n"
REFUSED = {
    "too much memory": "num_envs 1024 x num_steps 65536: the observations of one rollout take",
    "settings from a pipe": "not a regular file",
    "settings with a long name": "File name too long",
    "long name": "File name too long",
    "resume with a long name": "File name too long",
    "evaluation with a long name": "File name too long",
    "newer checkpoint": "was made by a newer version",
    "evaluation of a newer checkpoint": "was made by a newer version",
}


@pytest.fixture(scope="module")
def cases(top, plain) -> dict[str, Case]:
    far, long = top / "cases", "x" * 300
    paths = {name: far / name.replace(" ", "-") for name in [*REFUSED, "backup", "csv pipe"]}
    for path in paths.values():
        shutil.copytree(plain, path)
    for name in ("newer checkpoint", "evaluation of a newer checkpoint"):
        (paths[name] / "checkpoints" / f"step-{10**6:012d}.ckpt").write_bytes(NEWER)
    saved = paths["backup"] / "checkpoints"
    shutil.copy(saved / f"step-{64:012d}.ckpt", saved / "step-my-backup.ckpt")
    (paths["csv pipe"] / "progress.csv").unlink()
    os.mkfifo(paths["csv pipe"] / "progress.csv")
    os.mkfifo(far / "pipe.json")
    sound = f"--pfile={settings_file(far, SETTINGS)}"
    large = [f"--set={key}" for key in ("env_id=Pong", "network=a3c", "num_envs=1024")]
    more = "--set=total_steps=192"
    arguments = {
        "too much memory": ["--logdir=new", sound, *large, "--set=num_steps=65536"],
        "settings from a pipe": ["--logdir=new", "--pfile=pipe.json"],
        "settings with a long name": ["--logdir=new", f"--pfile={long}"],
        "long name": [f"--logdir={long}", sound],
        "resume with a long name": [f"--logdir={long}", "--resume"],
        "evaluation with a long name": [f"--logdir={long}", "--evaluate"],
        "newer checkpoint": ["--resume", more],
        "evaluation of a newer checkpoint": ["--evaluate", "1"],
        "backup": ["--resume", more],
        "csv pipe": ["--resume", more],
    }
    made = {}
    for name, given in arguments.items():
        before = tree(far)
        line = given if "--logdir" in given[0] else [f"--logdir={paths[name]}", *given]
        made[name] = Case(answer(far, *line), paths[name], tree(far) == before)
    return made


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line(cases, name):
    done = cases[name].done
    assert done.code == 2, done
    assert REFUSED[name] in done.err
    assert done.err.count("\n") == 1
    assert cases[name].unchanged


def test_copy_of_a_checkpoint_changes_nothing_for_a_resume(cases):
    case = cases["backup"]
    assert case.done.code == 0, case.done
    assert "resuming from step 128\n" in case.done.out
    names = {path.name for path in (case.path / "checkpoints").iterdir()}
    assert names >= {"step-my-backup.ckpt", *(f"step-{s:012d}.ckpt" for s in (0, 64, 128, 192))}


def test_pipe_in_place_of_the_csv_ends_the_resume_in_one_line(cases):
    done = cases["csv pipe"].done
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert "progress.csv: not a regular file" in done.err


@pytest.mark.parametrize("reason", ["", "Unable to allocate 1.72 TiB"])
def test_memory_that_runs_out_is_one_line(tmp_path, monkeypatch, capsys, reason):
    def run(*_: object, **__: object) -> None:
        raise MemoryError(reason)

    monkeypatch.setattr(train, "run", run)
    pfile = settings_file(tmp_path, SETTINGS)
    assert run_atari.main([f"--logdir={tmp_path / 'new'}", f"--pfile={pfile}"]) == 1
    assert (
        capsys.readouterr().err
        == ": ".join(["out of memory", *([reason] if reason else [])]) + "\n"
    )


@pytest.mark.parametrize(
    ("precision", "available", "processes", "fits"),
    # Two observations of 84 x 84 x 4 bytes, and what is made of them: as many or twice as many.
    [
        ("float32", 2 * 56_448 - 1, 1, False),
        ("float32", 2 * 56_448, 1, True),
        ("float32", 4 * 56_448 - 1, 2, False),
        ("float32", 4 * 56_448, 2, True),
        ("bfloat16", 3 * 56_448 - 1, 1, False),
        ("bfloat16", 3 * 56_448, 1, True),
    ],
)
def test_memory_is_counted_for_the_observations_of_a_rollout(
    monkeypatch, precision, available, processes, fits
):
    settings = Params(num_envs=2, num_steps=1, num_minibatches=1, total_steps=8)
    settings = settings.model_copy(update={"precision": precision})
    whole = settings.resolved(1, 1, 0.0, precision)
    monkeypatch.setattr(train, "available_memory", lambda: available)
    if fits:
        train.check_machine(whole, processes)
    else:
        with pytest.raises(params.ParamsError, match="Choose fewer envs or steps"):
            train.check_machine(whole, processes)


def test_all_that_the_machine_lacks_is_listed(monkeypatch):
    monkeypatch.setattr(train, "available_memory", lambda: 0)
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    whole = Params(wandb_project="ours").resolved(1, 1, 0.0, "float32")
    with pytest.raises(params.ParamsError, match=r"Choose fewer envs(.|\n)*pip install wandb"):
        train.check_machine(whole, 1)


# --- evaluations


@pytest.fixture
def copied(plain, tmp_path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "run"))


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only")]
)
def test_evaluation_in_a_folder_that_may_only_be_read_shows_its_scores(
    copied, capsys, monkeypatch, error
):
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("ppo.files.folder.os.replace", refuse)
    before = tree(copied)
    assert [len(one.episodes) for one in evaluate_run(copied, 2)] == [2, 2]
    printed = capsys.readouterr().out
    assert (
        f"the evaluation is not stored: {copied} cannot be written" in printed
        and "mean score" in printed
    )
    assert "replay" not in printed
    assert {name: content for name, content in tree(copied).items() if content} == {
        name: content for name, content in before.items() if content
    }


def test_scores_are_shown_though_the_disk_is_full(copied, capsys, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ppo.files.folder.os.replace", refuse)
    with pytest.raises(OSError, match="No space"):
        evaluate_run(copied, 1)
    assert "mean " in capsys.readouterr().out


def test_settings_that_were_left_open_can_be_evaluated(copied):
    stored = json.loads((copied / "params.json").read_text())
    (copied / "params.json").write_text(json.dumps(stored | {"seed": None, "threads": None}))
    assert [len(one.episodes) for one in evaluate_run(copied, 1)] == [1, 1]


def test_checkpoints_of_the_plain_run_are_as_expected(plain):
    assert checkpoint_steps(plain) == [0, 64, 128]
    assert checkpoint.newest(RunFolder(plain)).step == 128
