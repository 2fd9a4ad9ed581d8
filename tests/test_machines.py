"""Sweeps over the machines of a real Ray cluster, which die, or do not share the folder."""

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

import ray
from ray.cluster_utils import Cluster

from ppo.files.folder import RunFolder
from tests.processes import wait_until

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
    command += ["--vary=gamma=0.98,0.99", "--seeds=0,1,2", *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def test_all_runs_finish_if_a_machine_dies_and_the_table_equals_one_machine_s(
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
    assert said.count(": done\n") == 6
    logs = [folder.with_suffix(".log").read_text() for folder in folders]
    assert any("resuming from step" in log for log in logs)

    alone = sweep(tmp_path / "alone", pfile, "--workers=2")
    alone.communicate(timeout=600)
    tables = [(tmp_path / name / "table.md").read_text() for name in ("spread", "alone")]
    assert tables[0] == tables[1]


@contextmanager
def machine_without(folder: Path, address: str) -> Iterator[None]:
    """Add a machine of one core that sees an empty file system in place of the folder."""
    ray = f"{sys.executable} -m ray.scripts.scripts start --address={address} --num-cpus=1 --block"
    hide = f"mount -t tmpfs none '{folder}' && exec {ray}"
    command = ["unshare", "--mount", "sh", "-c", hide]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, process_group=0) as machine:
        try:
            yield
        finally:
            os.killpg(machine.pid, signal.SIGKILL)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="only root hides a folder"
)
def test_a_machine_that_does_not_see_the_folder_is_refused_before_any_run_begins(tmp_path):
    pfile, logdir = tmp_path / "base.json", tmp_path / "sweep"
    pfile.write_text(json.dumps(SETTINGS))
    logdir.mkdir()
    head = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        with machine_without(logdir, head.address):
            ray.init(address=head.address)
            wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == 2)
            ray.shutdown()
            refused = sweep(logdir, pfile, f"--cluster={head.address}")
            said, _ = refused.communicate(timeout=120)
    finally:
        head.shutdown()
    assert refused.returncode == 2, said
    assert f"does not see {logdir}; --cluster needs a --logdir on storage that all" in said
    assert not [path for path in logdir.rglob("*") if path.is_dir() or "sweep-" in path.name]


def test_a_stop_saves_every_run_and_the_same_command_continues(tmp_path):
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
