"""The cost of one exchange of gradients between processes on this machine, by size and number.

    python -m benchmarks.collectives [--workers=2,4] [--sizes=0.01,0.1,1,2.7,6.7]

Sizes are in MB: 2.7 is the network a3c, 6.7 nature.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ppo.process.children import start
from ppo.process.cluster import TF_CONFIG, place
from ppo.process.device import start_tensorflow
from ppo.runs.launch import configurations
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


def main() -> None:
    """Start the workers and print what the first one measured; or be one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=numbers, default=[2, 4])
    parser.add_argument("--sizes", type=numbers, default=[0.01, 0.1, 1, 2.7, 6.7])
    options = parser.parse_args()
    if os.environ.get(TF_CONFIG):
        print(json.dumps(measure(options.sizes)))
        return
    for count in map(int, options.workers):
        processes = [
            start(
                [sys.executable, "-m", "benchmarks.collectives", *sys.argv[1:]],
                cwd=ROOT,
                env={**os.environ, TF_CONFIG: config},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for config in configurations(count)
        ]
        said = [process.communicate()[0] for process in processes]
        for size, milliseconds in json.loads(said[0].splitlines()[-1]).items():
            print(f"{count} workers, {float(size):g} MB: {milliseconds:.2f} ms", flush=True)


if __name__ == "__main__":
    main()
