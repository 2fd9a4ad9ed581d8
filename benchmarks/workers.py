"""Steps per second of several workers of one thread each, beside one of one thread, and beside one
process with as many threads, in turn.

    python -m benchmarks.workers [--network=a3c] [--workers=2] [--set KEY=VALUE ...]

The work is that of benchmarks/reference.json, done by each worker. Timings drift with the machine,
so each round runs all three, and what counts is the ratio. On a busy machine compare only the CPU
time per thousand steps, over all workers.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ppo.system.arguments import argument_parser, positive
from ppo.system.children import start
from ppo.workers.launch import inherited, linked

ROOT = Path(__file__).resolve().parents[1]


class Speed(NamedTuple):
    """Of all workers together."""

    steps_per_second: float
    cpu_seconds: float  # of a thousand steps

    def __str__(self) -> str:
        return f"{self.steps_per_second:.0f} steps/s ({self.cpu_seconds:.2f} s of CPU for 1000)"


def speed(settings: list[str], workers: int, threads: int, updates: int) -> Speed:
    """Measure several workers with the given threads each."""
    command = [sys.executable, "-m", "benchmarks.ours", f"--updates={updates}"]
    command += [text for one in [*settings, f"threads={threads}"] for text in ("--set", one)]
    streams: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with linked(workers) as links:
        processes = [start(command, **inherited(link), cwd=ROOT, **streams) for link in links]
    outputs = [process.communicate()[0] for process in processes]
    measured = [json.loads(text.splitlines()[-1]) for text in outputs]
    steps = measured[0]["steps_per_second"]
    return Speed(steps, 1000 * sum(one["cores_used"] for one in measured) / steps)


def main() -> None:
    """Measure in turn, print each round, then the medians."""
    parser = argument_parser("benchmarks.workers", __doc__)
    parser.add_argument("--network", default="a3c")
    parser.add_argument("--workers", type=positive, default=2)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--updates", type=positive, default=20)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    settings = [f"network={options.network}", *options.set]
    over_one, over_threads = [], []
    for number in range(1, options.rounds + 1):
        many = speed(settings, options.workers, 1, options.updates)
        one = speed(settings, 1, 1, options.updates)
        threads = speed(settings, 1, options.workers, options.updates)
        over_one.append(many.steps_per_second / one.steps_per_second)
        over_threads.append(many.steps_per_second / threads.steps_per_second)
        print(
            f"round {number}: {options.workers} workers {many} | one of one thread {one}, ratio "
            f"{over_one[-1]:.2f} | one of {options.workers} threads {threads}, ratio "
            f"{over_threads[-1]:.2f}",
            flush=True,
        )
    print(
        f"{options.network}: median ratio {statistics.median(over_one):.2f} to one of one thread, "
        f"{statistics.median(over_threads):.2f} to one of {options.workers} threads"
    )


if __name__ == "__main__":
    main()
