"""A sweep: its grid, and real runs that are interrupted, damaged, stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ppo import checkpoint
from ppo.errors import ExitCode
from ppo.files.folder import RunFolder
from ppo.sweep import __main__ as sweep
from ppo.sweep.grid import parse
from ppo.system import children
from ppo.telemetry import progress
from tests.forked import start_with_log
from tests.processes import none_left, processes_of, wait_until

ROOT = Path(__file__).parents[1]
CART_POLE = {
    "env_id": "CartPole-v1",
    "network": "mlp",
    "num_steps": 32,
    "total_steps": 1024,
    "log_interval": 256,
    "clip_rewards": False,
}


def test_grid_is_every_combination_seed_by_seed():
    parsed = parse(["plain", "x:peaked_policy_loss=true"], ["gamma=0.9,0.99"])
    runs = parsed.runs(Path("d"), [0, 1], 1)
    assert len(runs) == 8
    assert [run.seed for run in runs] == [0] * 4 + [1] * 4
    assert runs[2].overrides == ("peaked_policy_loss=true", "gamma=0.9", "seed=0", "threads=1")
    assert len({run.folder for run in runs}) == 8


def test_a_sweep_continues_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(children, "start", start_with_log)
    pfile = tmp_path / "base.json"
    pfile.write_text(json.dumps(CART_POLE))
    logdir = tmp_path / "sweep"
    arguments = [f"--logdir={logdir}", f"--pfile={pfile}", "--variant", "plain", "--workers=2"]
    assert sweep.main(arguments) == 0
    arguments += ["--variant", "peaked:peaked_policy_loss=true"]
    assert sweep.main(arguments) == 0
    assert "plain, seed 0: was done already" in capsys.readouterr().out
    table = (logdir / "table.md").read_text()
    assert "| plain | 1 | " in table and "| peaked | 1 | " in table
    assert "up to step 1,024," in table
    assert (logdir / "figure.png").stat().st_size > 10_000

    spoil(logdir / "plain" / "seed-0")
    assert sweep.main(arguments) == 0
    said = capsys.readouterr().out
    assert "plain, seed 0: resumes" in said and "plain, seed 0: done" in said
    assert "peaked, seed 0: was done already" in said
    assert checkpoint.newest(RunFolder(logdir / "plain" / "seed-0")).step == 1024


def spoil(run: Path) -> None:
    """Make junk of the last checkpoint, and leave a copy of it, as a user may."""
    last = RunFolder(run).checkpoints / "step-000000001024.ckpt"
    last.with_name("step-copy.ckpt").write_bytes(last.read_bytes())
    last.write_bytes(b"junk")


def stop(process: subprocess.Popen, how: signal.Signals) -> None:
    """As ``kill`` does, or as a terminal's Ctrl-C, which goes to all of the process group."""
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_sweep_stops_its_runs_and_waits_for_them(tmp_path, how):
    pfile = tmp_path / "base.json"
    pfile.write_text(json.dumps(CART_POLE | {"total_steps": 10**7}))
    logdir = tmp_path / "sweep"
    command = [sys.executable, "-m", "ppo.sweep", f"--logdir={logdir}", f"--pfile={pfile}"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*command, "--variant=a", "--variant=b"],
        cwd=ROOT,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )
    with none_left(logdir):
        first = logdir / "a" / "seed-0"
        while not progress.numbers(first):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        stop(process, how)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert out == "a, seed 0: begins\n"
        assert err == "stopped; call the same command again to resume\n"
        assert not processes_of(logdir)
        assert "everything is saved" in first.with_suffix(".log").read_text()
        assert checkpoint.newest(RunFolder(first)).step > 0
        assert not (logdir / "b").exists()


def test_a_sweep_is_called_twice_then_killed_then_called_again(tmp_path, monkeypatch, capsys):
    pfile, logdir = tmp_path / "base.json", tmp_path / "sweep"
    pfile.write_text(json.dumps(CART_POLE | {"total_steps": 10**7}))
    arguments = [f"--logdir={logdir}", f"--pfile={pfile}", "--seeds=3"]
    run = logdir / "plain" / "seed-3"
    with none_left(logdir):
        process = subprocess.Popen(
            [sys.executable, "-m", "ppo.sweep", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        wait_until(lambda: progress.numbers(run))
        files = sorted(logdir.iterdir())
        pfile.write_text(json.dumps(CART_POLE | {"total_steps": 10_240}))
        assert sweep.main(arguments) == ExitCode.REFUSED
        said = f"{logdir} is in use by another process; wait for it\n"
        assert capsys.readouterr() == ("", said)
        assert sorted(logdir.iterdir()) == files and len(processes_of(logdir)) == 2
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
        wait_until(lambda: not processes_of(logdir))
        monkeypatch.setattr(children, "start", start_with_log)
        assert sweep.main(arguments) == ExitCode.DONE
    assert checkpoint.newest(RunFolder(run)).step >= 10_240
