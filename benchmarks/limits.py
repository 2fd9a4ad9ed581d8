"""The machine's float32 matrix-product rate; prints GFLOP/s. See benchmarks/speed.py.

python -m benchmarks.limits --threads=2
"""

import argparse
import os
import statistics
import time

from ppo.params import Params

SIZE = 2048


def step_flops(params: Params, num_actions: int) -> float:
    """Floating-point operations of one agent step, games aside: one forward pass to act, and in
    each epoch a forward and a backward pass; none is counted for the gradient of the pixels.
    """
    from ppo.model import NETWORKS

    convolutions, units = NETWORKS[params.network]
    side, channels = params.screen_size, params.frame_stack
    products = []
    for filters, kernel, stride in convolutions:
        side = (side - kernel) // stride + 1
        products.append(2 * side * side * filters * kernel * kernel * channels)
        channels = filters
    size = side * side * channels
    for unit in (*units, num_actions + 1):
        products.append(2 * size * unit)
        size = unit
    forward = sum(products)
    return forward + params.num_epochs * (3 * forward - products[0])


def product_rate(threads: int, rounds: int = 7) -> float:
    """Median rate of a matrix product of SIZE, in operations per second, on so many threads."""
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as ppo.startup does
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
