"""Workers of one machine as real processes, without TensorFlow: what they hear, sum and notice."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ppo.errors import ExitCode
from ppo.workers import launch
from ppo.workers.cluster import ClusterError, Link
from ppo.workers.launch import inherited, linked
from ppo.workers.local import LocalWorkers

ROOT = Path(__file__).parents[2]
WORKER = """
import os, signal, sys
import numpy as np
from ppo.workers.local import LocalWorkers
from ppo.errors import WorkerLost
from ppo.workers.cluster import this_worker

link = this_worker().link
workers = LocalWorkers(link)

def numbers(index, size):
    return np.random.default_rng([index, size]).normal(size=size).astype(np.float32)

try:
    exec(sys.argv[1])
except WorkerLost as error:
    print(f"lost {error.worker}")
"""


@contextmanager
def started(does: str, count: int = 3) -> Iterator[list[subprocess.Popen]]:
    with linked(count) as links:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, does],
                **inherited(link),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for link in links
        ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def said(does: str, count: int = 3) -> list[list[str]]:
    """The lines of each worker; all end by themselves."""
    with started(does, count) as processes:
        outputs = [process.communicate(timeout=120)[0].splitlines() for process in processes]
        assert all(process.returncode in (0, -signal.SIGKILL) for process in processes)
    return outputs


HEARS = """
print(workers.all_gather(b"abc"[: link.index]))
print(workers.broadcast(b"first" * 10**6 if link.index == 0 else b"other") == b"first" * 10**6)
print([len(data) for data in workers.all_gather(bytes(10**6 * link.index))])
"""


def test_all_hear_all_in_the_order_of_the_workers():
    heard = ["[b'', b'a', b'ab']", "True", "[0, 1000000, 2000000]"]
    assert said(HEARS) == [heard] * 3


# Sizes that grow and shrink, that three do not divide, and float64 between float32.
SUMS = """
for size in (1, 5, 100_003, 7, 700_001, 2):
    parts = np.array_split(numbers(link.index, size), 2)
    print(workers.average(*parts).tobytes() == mean_of_all(size).tobytes())
    print(workers.average(np.full(2, 0.1 * link.index)).tolist())
"""
EXPECTED = """
def mean_of_all(size):
    first, *others = (numbers(index, size) for index in range(workers.count))
    for one in others:
        first = first + one
    return first / np.float32(workers.count)
"""


@pytest.mark.parametrize("count", [2, 3])
def test_all_get_the_mean_as_summed_in_the_order_of_the_workers(count):
    wide = str(np.mean([np.full(2, 0.1 * n) for n in range(count)], 0).tolist())
    assert said(EXPECTED + SUMS, count) == [["True", wide] * 6] * count


ENDS = """
workers.average(numbers(link.index, 1000))
if link.index == ENDING:
    os.kill(os.getpid(), signal.SIGKILL)
workers.average(numbers(link.index, 1000))
"""


@pytest.mark.parametrize("ending", [0, 1, 2])
def test_all_others_hear_at_once_who_died(ending):
    outputs = said(ENDS.replace("ENDING", str(ending)))
    assert [output for n, output in enumerate(outputs) if n != ending] == [[f"lost {ending}"]] * 2


CHILD = """
import subprocess, time
pid = STARTS
print(pid, "PPO_LINK" in os.environ, flush=True)
if link.index == 1:
    os.kill(os.getpid(), signal.SIGKILL)
workers.all_gather(b"")
"""


@pytest.mark.parametrize(
    "starts",
    [
        "subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL).pid",
        "os.fork() or (os.close(1), time.sleep(600))",
    ],
)
def test_a_process_that_a_worker_started_neither_hides_its_death_nor_takes_its_place(starts):
    outputs = said(CHILD.replace("STARTS", starts), 2)
    for output in outputs:
        os.kill(int(output[0].split()[0]), signal.SIGKILL)
    assert [output[0].split()[1] for output in outputs] == ["False", "False"]
    assert outputs[0][1:] == ["lost 1"]


def test_a_link_that_was_not_inherited_is_refused(tmp_path):
    with open(tmp_path / "file", "w") as file:
        closed = file.fileno()
    with pytest.raises(ClusterError, match="unset it"):
        LocalWorkers(Link(2, 0, closed, (closed,)))


LAST = """
import sys, time
from ppo.workers.cluster import this_worker

if this_worker().index == 1:
    sys.exit({of_others})
time.sleep(1)
sys.exit({of_first})
"""


@pytest.mark.parametrize(
    ("of_others", "of_first"),
    [(ExitCode.STOPPED, ExitCode.FAILED), (ExitCode.DIVERGED, ExitCode.DIVERGED)],
)
def test_no_signal_disturbs_a_first_worker_that_ends_last(
    of_others, of_first, tmp_path, monkeypatch
):
    program = LAST.format(of_others=int(of_others), of_first=int(of_first))
    monkeypatch.setattr(launch, "RUN_ATARI", [sys.executable, "-c", program])
    assert launch.run(tmp_path, [], workers=2, restarts=0) == of_first
