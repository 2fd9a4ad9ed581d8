"""The reference work with this package; prints one JSON line. See benchmarks/speed.py."""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from ppo.startup import default_threads, start_tensorflow


def timed(spent: dict[str, float], name: str, call: Callable) -> Callable:
    """``call``, adding the time it takes to ``spent[name]``."""

    def wrapper(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            spent[name] += time.perf_counter() - began

    return wrapper


def main() -> None:
    """Warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="nature")
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    threads = default_threads()
    for text in options.set:
        threads = int(text.removeprefix("threads=")) if text.startswith("threads=") else threads
    began = time.perf_counter()
    start_tensorflow(threads)

    from ppo import params
    from ppo.learner import Learner

    base = params.Params(
        network=options.network,
        total_steps=10**7,
        diagnostics_interval=0,
        seed=1,
        threads=threads,
    )
    settings = params.override(base, options.set)
    learner = Learner(settings)
    spent: dict[str, float] = defaultdict(float)
    collector = learner.collector
    collector.act = timed(spent, "acting", collector.act)
    for vector in learner.vectors:
        vector.receive = timed(spent, "games", vector.receive)  # type: ignore[method-assign]
    learner.updater.update = timed(spent, "update", learner.updater.update)  # type: ignore[method-assign]
    iterations = learner.iterations()
    next(iterations)
    first_update = time.perf_counter() - began
    for _ in range(options.warm_up - 1):
        next(iterations)
    spent.clear()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(options.updates):
        next(iterations)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    spent["rest"] = wall - sum(spent.values())
    print(
        json.dumps(
            {
                "steps_per_second": options.updates * settings.batch_size / wall,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "split": {name: seconds / wall for name, seconds in spent.items()},
                "cores_used": cpu / wall,
                "seconds_to_first_update": first_update,
            }
        )
    )


if __name__ == "__main__":
    main()
