"""Sweeps over the machines of a real Ray cluster, which die, and which may not share a folder."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is optional: pip install '.[cluster]'")

from ray.cluster_utils import Cluster

from ppo.files.folder import RunFolder

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "env_id": "CartPole-v1",
    "network": "mlp",
    "num_steps": 32,
    "total_steps": 24_000,
    "log_interval": 2048,
    "checkpoint_interval": 2048,
    "clip_rewards": False,
}


@pytest.fixture
def two_machines():
    """Two of one core each, on this one; the second can be killed."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster, cluster.add_node(num_cpus=1)
    cluster.shutdown()


def sweep(logdir: Path, pfile: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "ppo.sweep", f"--logdir={logdir}", f"--pfile={pfile}"]
    grid = [] if more[0].startswith("--vary") else ["--vary=gamma=0.98,0.99", "--seeds=0,1,2,3,4,5"]
    command += [*grid, *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def test_all_runs_finish_though_a_machine_dies_and_the_table_is_that_of_one_machine(
    two_machines, tmp_path
):
    cluster, second = two_machines
    pfile = tmp_path / "base.json"
    pfile.write_text(json.dumps(SETTINGS))
    spread = sweep(tmp_path / "spread", pfile, f"--cluster={cluster.address}")
    folders = [tmp_path / "spread" / f"gamma={gamma}" / "seed-0" for gamma in ("0.98", "0.99")]
    deadline = time.monotonic() + 120
    while not all(list(RunFolder(folder).checkpoints.glob("step-*")) for folder in folders):
        assert spread.poll() is None and time.monotonic() < deadline, spread.communicate()
        time.sleep(0.05)
    cluster.remove_node(second, allow_graceful=False)
    said, _ = spread.communicate(timeout=600)
    assert spread.returncode == 0, said
    assert said.count(": done\n") == 12 and "its machine was lost" in said

    alone = sweep(tmp_path / "alone", pfile, "--workers=2")
    alone.communicate(timeout=600)
    tables = [(tmp_path / name / "table.md").read_text() for name in ("spread", "alone")]
    assert tables[0] == tables[1]


@contextmanager
def machine_without(folder: Path, address: str) -> Iterator[subprocess.Popen]:
    """One of one core, for which an empty file system lies on the folder."""
    ray = f"{sys.executable} -m ray.scripts.scripts start --address={address} --num-cpus=1 --block"
    hide = f"mount -t tmpfs none '{folder}' && exec {ray}"
    command = ["unshare", "--mount", "sh", "-c", hide]
    copies = folder.with_name("copies")
    copies.mkdir(exist_ok=True)
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        process_group=0,
        env=os.environ | {"TMPDIR": str(copies)},
    ) as machine:
        try:
            yield machine
        finally:
            os.killpg(machine.pid, signal.SIGKILL)


def newest_step(folder: Path) -> int:
    """Of the checkpoints in a run's folder."""
    found = sorted(RunFolder(folder).checkpoints.glob("step-*"))
    return int(found[-1].stem.removeprefix("step-")) if found else 0


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="only root hides a folder"
)
def test_what_a_machine_does_that_does_not_see_the_folder_is_brought_back(tmp_path):
    pfile, logdir = tmp_path / "base.json", tmp_path / "sweep"
    pfile.write_text(json.dumps(SETTINGS | {"total_steps": 60_000}))
    logdir.mkdir()
    run = logdir / "gamma=0.98" / "seed-0"
    head = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        command = ["--vary=gamma=0.98", "--seeds=0", f"--cluster={head.address}"]
        with machine_without(logdir, head.address):
            spread = sweep(logdir, pfile, *command)
            deadline = time.monotonic() + 180
            while not newest_step(run):
                assert spread.poll() is None and time.monotonic() < deadline, spread.communicate()
                time.sleep(0.05)
        with machine_without(logdir, head.address):
            said, _ = spread.communicate(timeout=300)
    finally:
        head.shutdown()
    assert spread.returncode == 0, said
    assert "its machine was lost" in said and newest_step(run) >= 60_000
    log = run.with_suffix(".log").read_text()
    assert str(run) not in log, "it worked in another folder"
    assert "resuming from step" in log
    assert not list(logdir.glob(".sweep-*"))


def test_a_stop_saves_every_run_and_the_same_command_goes_on(tmp_path):
    pfile = tmp_path / "base.json"
    pfile.write_text(json.dumps(SETTINGS | {"total_steps": 10**7}))
    process = sweep(tmp_path / "sweep", pfile, "--cluster=local", "--workers=2")
    first = RunFolder(tmp_path / "sweep" / "gamma=0.98" / "seed-0")
    deadline = time.monotonic() + 120
    while not list(first.checkpoints.glob("step-*")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "everything is saved" in first.path.with_suffix(".log").read_text()
    assert not list((tmp_path / "sweep").glob(".sweep-*"))
