"""Training with this package, timed; prints one JSON line. See benchmarks/speed.py.

    python -m benchmarks.ours --set network=a3c --set num_envs=16 --set threads=1

The work is given by benchmarks/reference.json, with the given settings changed. Each of several
workers, which benchmarks.workers starts, does the whole work.
"""

import json
import math
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppo import params
from ppo.envs.registry import resolved
from ppo.system.arguments import argument_parser, positive
from ppo.system.tensorflow_start import start_tensorflow
from ppo.train import connect
from ppo.workers.cluster import this_worker

if TYPE_CHECKING:
    import keras


def step_flops(network: "keras.Model", num_epochs: int) -> float:
    """Floating-point operations of one agent step, games aside: one forward pass to act, and in
    each epoch a forward and a backward pass; none is counted for the gradient of the pixels.
    """
    products = []
    for layer in network.layers:
        if layer.trainable_weights:
            places = math.prod(layer.output.shape[1:-1])  # of a convolution
            products.append(2 * places * layer.get_weights()[0].size)
    forward = sum(products)
    return forward + num_epochs * (3 * forward - products[0])


def time_calls(spent: dict[str, float], name: str, owner: object, method: str) -> None:
    """Have each call of an object's method add the time that it takes to ``spent[name]``."""
    call: Callable = getattr(owner, method)

    def wrapper(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            spent[name] += time.perf_counter() - began

    setattr(owner, method, wrapper)


def resident_mib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Warm up, measure, print."""
    parser = argument_parser("benchmarks.ours", __doc__)
    parser.add_argument("--updates", type=positive, default=30)
    parser.add_argument("--warm-up", type=positive, default=3)
    parser.add_argument("--began", type=float, default=time.monotonic(), help="of time.monotonic()")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    worker = this_worker()
    source = Path(__file__).with_name("reference.json")
    settings = resolved(params.load(source, [*options.set, f"workers={worker.count}"]))
    workers = start_tensorflow(settings.threads, lambda: connect(worker))
    imported_mib = resident_mib()

    from ppo.trainer import Trainer

    trainer = Trainer(settings, workers)
    spent: dict[str, float] = defaultdict(float)
    time_calls(spent, "acting", trainer.policy, "act")
    for vector in trainer.envs.vectors:
        time_calls(spent, "games", vector, "receive")
    time_calls(spent, "update", trainer.updater, "update")
    iterations = trainer.iterations()
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
        "steps_per_second": options.updates * settings.steps_per_iteration / wall,
        "step_flops": step_flops(trainer.model, settings.num_epochs),
        "peak_mib": resident_mib(),
        "above_import_mib": resident_mib() - imported_mib,
        "split": {name: seconds / wall for name, seconds in spent.items()},
        "cores_used": cpu / wall,
        "seconds_to_first_update": first_update,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
