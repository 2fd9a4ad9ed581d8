"""The machine's float32 matrix-product rate; prints GFLOP/s. See benchmarks/speed.py.

python -m benchmarks.limits --threads=2
"""

import argparse
import math
import os
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

SIZE = 2048


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


def product_rate(threads: int, rounds: int = 7) -> float:
    """Median rate of a matrix product of SIZE, in operations per second, on so many threads."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as ppo.process.device does
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    a = tf.random.normal([SIZE, SIZE])
    product = tf.function(tf.matmul)
    seconds = []
    for _ in range(rounds + 2):
        began = time.perf_counter()
        product(a, a)[0, 0].numpy()
        seconds.append(time.perf_counter() - began)
    return 2 * SIZE**3 / statistics.median(seconds[2:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    print(product_rate(parser.parse_args().threads) / 1e9)


if __name__ == "__main__":
    main()
