"""The cost of one exchange of gradients between processes on this machine, by size and number.

    python -m benchmarks.collectives [--workers=2,4] [--sizes=0.01,0.1,1,2.7,6.7] [--tensorflow]

Sizes are in MB: 2.7 is the network a3c, 6.7 nature. With ``--tensorflow`` the exchange is the one
between machines, TensorFlow's, over the loopback; else the one of ``--workers``.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ppo.process.children import start
from ppo.process.cluster import LINK, TF_CONFIG, place
from ppo.process.device import start_tensorflow
from ppo.runs.launch import inherited, linked
from ppo.train import connect

ROOT = Path(__file__).resolve().parents[1]
EXCHANGES = 48  # in one graph, as an update of 6 epochs x 8 minibatches


def numbers(text: str) -> list[float]:
    """Numbers with commas between them."""
    return [float(number) for number in text.split(",")]


def measure(sizes: list[float]) -> dict[float, float]:
    """As one worker: milliseconds of an exchange of so many MB, the median of five graphs."""
    here = place()
    workers = start_tensorflow(1, lambda: connect(here))

    import tensorflow as tf

    found = {}
    for size in sizes:
        vector = tf.ones(max(1, round(size * 1e6 / 4)))

        @tf.function
        def exchanges(vector: tf.Tensor) -> tf.Tensor:
            for _ in tf.range(EXCHANGES):
                (vector,) = workers.mean([vector])
            return vector

        exchanges(vector)
        times = []
        for _ in range(5):
            workers.gather(b"")  # together
            began = time.perf_counter()
            exchanges(vector).numpy()
            times.append(time.perf_counter() - began)
        found[size] = 1000 * sorted(times)[2] / EXCHANGES
    return found


@contextmanager
def with_ports(count: int) -> Iterator[list[dict[str, Any]]]:
    """What ``subprocess.Popen`` hands to each of so many workers that use TensorFlow's exchange on
    this machine.
    """
    with ExitStack() as held:  # until all ports are known
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    tasks = [{"type": "worker", "index": index} for index in range(count)]
    configs = [json.dumps({"cluster": {"worker": addresses}, "task": task}) for task in tasks]
    yield [{"env": {**os.environ, TF_CONFIG: config}} for config in configs]


@contextmanager
def with_links(count: int) -> Iterator[list[dict[str, Any]]]:
    """The same of so many workers that use the exchange of ``--workers``."""
    with linked(count) as links:
        yield [inherited(link) for link in links]


def main() -> None:
    """Start the workers and print what the first one measured; or be one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=numbers, default=[2, 4])
    parser.add_argument("--sizes", type=numbers, default=[0.01, 0.1, 1, 2.7, 6.7])
    parser.add_argument("--tensorflow", action="store_true")
    options = parser.parse_args()
    if os.environ.get(TF_CONFIG) or os.environ.get(LINK):
        print(json.dumps(measure(options.sizes)))
        return
    for count in map(int, options.workers):
        with (with_ports if options.tensorflow else with_links)(count) as given:
            processes = [
                start(
                    [sys.executable, "-m", "benchmarks.collectives", *sys.argv[1:]],
                    **of_one,
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                for of_one in given
            ]
        said = [process.communicate()[0] for process in processes]
        for size, milliseconds in json.loads(said[0].splitlines()[-1]).items():
            print(f"{count} workers, {float(size):g} MB: {milliseconds:.2f} ms", flush=True)


if __name__ == "__main__":
    main()
