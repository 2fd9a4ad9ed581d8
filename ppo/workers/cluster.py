"""Which of a run's workers this process is: from its starter, TF_CONFIG, or Slurm's variables."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from ppo.errors import Refused
from ppo.system import reading

LINK = "PPO_LINK"  # set by --workers for the processes that it starts and watches
TF_CONFIG = "TF_CONFIG"
SLURM_COUNT, SLURM_INDEX = "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"
SLURM_INDEX_ON_NODE = "SLURM_LOCALID"
SLURM_FIRST_PORT = 8888  # of TensorFlow's resolver
# The jobs of a TF_CONFIG whose tasks train, in the order of the workers.
JOBS = ("chief", "worker")

UNLINKED = f"{LINK} is only for processes that --workers starts; unset it"


class ClusterError(Refused):
    """The description of the run's workers cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Link:
    """What worker ``index`` of ``count`` inherits from the process that started all of them: file
    descriptors of shared memory and of sockets. The first worker has a socket to each other worker.
    Every other worker has one socket, to the first.
    """

    count: int
    index: int
    memory: int
    sockets: tuple[int, ...]

    @property
    def environment(self) -> dict[str, str]:
        return {LINK: json.dumps(asdict(self))}

    @property
    def descriptors(self) -> tuple[int, ...]:
        return self.memory, *self.sockets


@dataclass(frozen=True)
class Worker:
    """A worker of a run, as its own process sees it. Only the first, with index 0, uses files.

    ``on_this_machine`` is how many workers are known to share the machine. ``has_chief`` says
    whether the first is called chief rather than worker. ``link`` joins the worker to the others if
    one process started all.
    """

    count: int
    index: int
    on_this_machine: int = 1
    has_chief: bool = False
    link: Link | None = None


def this_worker(environment: Mapping[str, str] = os.environ) -> Worker:
    """Return this process as one of the workers of a run. Raises ClusterError."""
    if text := environment.get(LINK):
        try:
            link = reading.validated(text, TypeAdapter(Link))
        except ValueError as error:
            raise ClusterError(UNLINKED) from error
        return Worker(link.count, link.index, link.count, link=link)
    if text := environment.get(TF_CONFIG):
        return _from_tf_config(text)
    count = environment.get(SLURM_COUNT, "1")
    if count == "1":
        return Worker(1, 0)
    index = environment.get(SLURM_INDEX, "")
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise ClusterError(
            f"{SLURM_COUNT}={count} and {SLURM_INDEX}={index} do not name a task of a Slurm step; "
            "start the run with srun"
        )
    return Worker(int(count), int(index))


def check_alone() -> None:
    """Raise ClusterError if this process is one of several workers. The runs that a command starts
    would each be that worker, and wait for the others.
    """
    worker = this_worker()
    if worker.count > 1 and not worker.link:
        raise ClusterError(
            f"this process is worker {worker.index} of {worker.count} by {TF_CONFIG} or Slurm, "
            f"and this command starts runs of one process; unset {TF_CONFIG}, or leave out srun"
        )


def environment_alone() -> dict[str, str]:
    """Return this process's environment, without what makes a process one of several workers."""
    return {key: value for key, value in os.environ.items() if key not in (TF_CONFIG, SLURM_COUNT)}


def exposure(environment: Mapping[str, str] = os.environ, gpu: bool = False) -> str:
    """Say what TensorFlow opens on this machine for a worker without a link, and to whom."""
    others, port = "the nodes of this Slurm step", SLURM_FIRST_PORT
    if text := environment.get(TF_CONFIG):
        config = reading.parse(text)
        tasks = _tasks(config["cluster"])
        host, port = tasks[str(config["task"]["type"]), int(config["task"]["index"])]
        others = ", ".join(sorted({name for name, _ in tasks.values()} - {host})) or "this machine"
    else:
        port += int(environment.get(SLURM_INDEX_ON_NODE, 0))
    more = ", and NCCL opens more ports" if gpu else ""
    return (
        f"TensorFlow opens TCP port {port} on all network interfaces, without a password or "
        f"encryption{more}. Whoever reaches it can read and write your files. Firewall rule: "
        f"accept port {port} only from {others}; see docs/scale.md"
    )


def _from_tf_config(text: str) -> Worker:
    try:
        config = reading.parse(text)
        tasks = _tasks(config.get("cluster", {}))
        if not tasks:
            return Worker(1, 0)
        own = str(config["task"]["type"]), int(config["task"]["index"])
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ClusterError(
            f"{TF_CONFIG} cannot be read ({type(error).__name__}: {error}); write it like "
            '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, '
            '"task": {"type": "worker", "index": 0}}'
        ) from error
    if own not in tasks:
        known = ", ".join(f"{job} {index}" for job, index in tasks)
        raise ClusterError(
            f"{TF_CONFIG} says that this process is {own[0]} {own[1]}, which trains nothing; the "
            f"cluster's workers are: {known}"
        )
    hosts = [host for host, _ in tasks.values()]
    on_this_machine, has_chief = hosts.count(tasks[own][0]), ("chief", 0) in tasks
    return Worker(len(tasks), list(tasks).index(own), on_this_machine, has_chief)


def _tasks(cluster: Mapping[str, Any]) -> dict[tuple[str, int], tuple[str, int]]:
    """Return host and port of each task that trains, by job and index."""
    tasks = {}
    for job in JOBS:
        for index, address in enumerate(cluster.get(job, [])):
            host, _, port = address.rpartition(":")
            if not host:
                raise ValueError(f"{address} is not HOST:PORT")
            tasks[job, index] = host, int(port)
    return tasks
