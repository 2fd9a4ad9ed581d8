"""The files in examples/cluster say what the command and the schedulers understand."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ppo import params, presets
from ppo.cli.parser import parse
from ppo.workers.cluster import Worker, this_worker

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "cluster"


@pytest.fixture
def shown(tmp_path) -> Path:
    """A program that prints its arguments and TF_CONFIG as JSON, in place of another."""
    program = tmp_path / "show"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "print(json.dumps([sys.argv[1:], os.environ.get('TF_CONFIG')]))\n"
    )
    program.chmod(0o755)
    return program


def understood(arguments: list[str]) -> None:
    """The command takes the arguments, and their settings fit four workers."""
    script, *rest = arguments
    assert script == "run_atari.py"
    options = parse(rest, None)
    if not options.resume:
        params.load(presets.find(options.pfile), [*options.set, "workers=4"])


@pytest.mark.parametrize("index", [0, 1])
def test_by_hand_each_worker_knows_its_place(shown, index):
    command = [str(EXAMPLES / "by-hand.sh"), str(index), "10.0.0.1:2222", "10.0.0.2:2222", "--"]
    command += ["--logdir=runs/pong", "--pfile=pong"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHON": str(shown)}, capture_output=True, check=True
    )
    arguments, config = json.loads(done.stdout)
    understood(arguments)
    assert this_worker({"TF_CONFIG": config}) == Worker(2, index)


@pytest.mark.parametrize("resumed", [False, True])
def test_slurm_starts_and_resumes(shown, tmp_path, resumed):
    (tmp_path / "srun").symlink_to(shown)
    if resumed:
        (tmp_path / "params.json").touch()
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LOGDIR": str(tmp_path),
        "SLURM_CPUS_PER_TASK": "8",
    }
    command = ["bash", "-eu", str(EXAMPLES / "slurm.sbatch")]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    (cores, how, wait, python, *arguments), _ = json.loads(done.stdout)
    assert (cores, how, python) == ("--cpus-per-task=8", "--kill-on-bad-exit=0", "python")
    assert wait == "--wait=1800"  # longer than the first worker's last evaluation and videos
    assert ("--resume" in arguments) == resumed
    understood(arguments)


@pytest.mark.parametrize(
    ("code", "restarts", "again"), [(6, 0, True), (137, 9, True), (6, 10, False), (3, 0, False)]
)
def test_slurm_queues_a_run_again_that_lost_a_worker(code, restarts, again, tmp_path):
    for name, does in (("srun", f"exit {code}"), ("scontrol", f"touch {tmp_path}/again")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LOGDIR": str(tmp_path),
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_JOB_ID": "1",
        "SLURM_RESTART_COUNT": str(restarts),
    }
    done = subprocess.run(["bash", str(EXAMPLES / "slurm.sbatch")], env=environment)
    assert done.returncode == code and (tmp_path / "again").exists() == again


def test_slurm_asks_for_as_many_tasks_as_its_comment_says():
    text = (EXAMPLES / "slurm.sbatch").read_text()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", text, re.MULTILINE))
    assert int(asked["nodes"]) * int(asked["ntasks-per-node"]) == 4
    assert asked["signal"] == "TERM@60"  # more than the ten seconds of a stop


def test_kubernetes_starts_and_resumes():
    job = json.loads((EXAMPLES / "tfjob.json").read_text())
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    assert (job["kind"], worker["replicas"]) == ("TFJob", 4)
    pod = worker["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 10
    (container,) = pod["containers"]
    assert container["name"] == "tensorflow"  # by which the operator knows it
    commands = re.findall(r"exec python ([^;]+);", container["args"][0])
    assert len(commands) == 2
    for command in commands:
        understood(shlex.split(command))
