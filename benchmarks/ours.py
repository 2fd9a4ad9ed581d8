"""Training with this package, timed; prints one JSON line. See benchmarks/speed.py.

    python -m benchmarks.ours --set network=a3c --set num_envs=16 --set threads=1

The work is that of benchmarks/reference.json, with the given settings changed.
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks.reference import reference
from ppo.startup import start_tensorflow


def timed(spent: dict[str, float], name: str, call: Callable) -> Callable:
    """``call``, adding the time it takes to ``spent[name]``."""

    def wrapper(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            spent[name] += time.perf_counter() - began

    return wrapper


def resident_mib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--began", type=float, default=time.monotonic(), help="of time.monotonic()")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    settings, threads = reference(options.set)
    start_tensorflow(threads)
    imported_mib = resident_mib()

    from benchmarks.limits import step_flops
    from ppo.learner import Learner

    learner = Learner(settings)
    spent: dict[str, float] = defaultdict(float)
    collector = learner.collector
    collector.act = timed(spent, "acting", collector.act)
    for vector in learner.vectors:
        vector.receive = timed(spent, "games", vector.receive)  # type: ignore[method-assign]
    learner.updater.update = timed(spent, "update", learner.updater.update)  # type: ignore[method-assign]
    iterations = learner.iterations()
    next(iterations)
    first_update = time.monotonic() - options.began
    for _ in range(options.warm_up - 1):
        next(iterations)
    spent.clear()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(options.updates):
        next(iterations)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    spent["rest"] = wall - sum(spent.values())
    result = {
        "steps_per_second": options.updates * settings.batch_size / wall,
        "step_flops": step_flops(settings, learner.num_actions),
        "peak_mib": resident_mib(),
        "above_import_mib": resident_mib() - imported_mib,
        "split": {name: seconds / wall for name, seconds in spent.items()},
        "cores_used": cpu / wall,
        "seconds_to_first_update": first_update,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
