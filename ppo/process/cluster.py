"""Which of a run's workers this process is: from TF_CONFIG, or from Slurm's variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ppo.process import reading

TF_CONFIG = "TF_CONFIG"
SLURM_COUNT, SLURM_INDEX = "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"
STARTER = "PPO_STARTER"  # set where a process of this machine started all workers, and watches them
# The jobs of a TF_CONFIG whose tasks train, in the order of the workers.
JOBS = ("chief", "worker")


class ClusterError(Exception):
    """What is said about the run's workers cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Place:
    """A process among the workers of a run: the first has the index 0, reads and writes.

    ``on_this_machine`` is how many of them are known to share it; ``has_chief`` says whether the
    first is not called worker but chief, ``has_starter`` whether one process started all.
    """

    count: int
    index: int
    on_this_machine: int = 1
    has_chief: bool = False
    has_starter: bool = False


def place(environment: Mapping[str, str] | None = None) -> Place:
    """The place of this process. Raises ClusterError."""
    environment = os.environ if environment is None else environment
    if text := environment.get(TF_CONFIG):
        return replace(_of_tf_config(text), has_starter=STARTER in environment)
    count = environment.get(SLURM_COUNT, "1")
    if count == "1":
        return Place(1, 0)
    index = environment.get(SLURM_INDEX, "")
    if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
        raise ClusterError(
            f"{SLURM_COUNT}={count} and {SLURM_INDEX}={index} name no task of a Slurm step; start "
            "the run with srun"
        )
    return Place(int(count), int(index))


def _of_tf_config(text: str) -> Place:
    try:
        config = reading.parse(text)
        tasks = _tasks(config.get("cluster", {}))
        if not tasks:
            return Place(1, 0)
        own = str(config["task"]["type"]), int(config["task"]["index"])
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ClusterError(
            f"{TF_CONFIG} cannot be read ({type(error).__name__}: {error}); it looks like "
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
    here, has_chief = hosts.count(tasks[own][0]), ("chief", 0) in tasks
    return Place(len(tasks), list(tasks).index(own), here, has_chief)


def _tasks(cluster: Mapping[str, Any]) -> dict[tuple[str, int], tuple[str, int]]:
    """Host and port of each task that trains, by job and index."""
    return {
        (job, index): _host_and_port(address)
        for job in JOBS
        for index, address in enumerate(cluster.get(job, []))
    }


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host:
        raise ValueError(f"{address} is no HOST:PORT")
    return host, int(port)
