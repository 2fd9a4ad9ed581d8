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
from ppo.options import parse
from ppo.process.cluster import Place, place

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
    assert place({"TF_CONFIG": config}) == Place(2, index)


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
    (cores, how, python, *arguments), _ = json.loads(done.stdout)
    assert (cores, how, python) == ("--cpus-per-task=8", "--kill-on-bad-exit=0", "python")
    assert ("--resume" in arguments) == resumed
    understood(arguments)


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
