"""Where the time of an update goes, layer by layer: a trace of one update of the reference work.

python -m benchmarks.layers --set network=a3c
"""

import argparse
import re
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks.reference import NUM_ACTIONS, observation_shape, random_batch, reference
from ppo.process.device import start_tensorflow

KINDS = (
    ("filter gradient", "BackpropFilter"),
    ("input gradient", "BackpropInput"),
    ("forward", "Conv2D"),
    ("matrix products", "MatMul"),
    ("Adam", "ResourceApplyAdam"),
    ("conversion", "Cast"),
    ("gather", "Gather"),
    ("pictures kept", "ResourceScatterUpdate"),
)


def traced(update: object, folder: Path) -> list[tuple[str, float]]:
    """Every operation of one call on the threads that compute: its full name and seconds."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    tf.profiler.experimental.start(str(folder))
    update()  # type: ignore[operator]
    tf.profiler.experimental.stop()
    space = xplane_pb2.XSpace()
    space.ParseFromString(next(folder.rglob("*.xplane.pb")).read_bytes())
    return [
        (plane.event_metadata[event.metadata_id].name, event.duration_ps / 1e12)
        for plane in space.planes
        for line in plane.lines
        if line.name.startswith("tf_Compute")
        for event in line.events
    ]


def row_of(name: str, layers: list[str]) -> str:
    """The row of the table that an operation belongs to."""
    if re.search(r"/pixels(_\d+)?/", name):
        return "pictures prepared"
    layer = next((layer for layer in layers if re.search(rf"\b{layer}(_\d+)?/", name)), "")
    kind = next((kind for kind, mark in KINDS if mark in name.rpartition(":")[2]), "the rest")
    return f"{layer} {kind}" if layer and kind not in ("Adam", "the rest") else kind


def main() -> None:
    """Trace, sum up, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    settings = reference(parser.parse_args().set)
    start_tensorflow(settings.threads)

    from ppo import model
    from ppo.update import INITIAL_RESCALING_STATE, Updater

    network = model.of_settings(observation_shape(settings), NUM_ACTIONS, settings)
    updater = Updater(network, settings, settings.threads)
    batch = random_batch(settings)

    def update() -> None:
        updater.update(batch, np.array([1, 2], np.int32), 2.5e-4, 0.1, INITIAL_RESCALING_STATE)

    for _ in range(3):
        update()
    layers = list(model.weighted_layers(network))
    sums: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in traced(update, Path(folder)):
            if ":" in name and not name.endswith(":Process"):
                sums[row_of(name, layers)] += seconds
    whole = sum(sums.values())
    for row, seconds in sorted(sums.items(), key=lambda item: -item[1]):
        print(f"{row:32} {1000 * seconds:8.1f} ms {seconds / whole:6.1%}")
    print(f"{'all, over ' + str(settings.threads) + ' threads':32} {1000 * whole:8.1f} ms")


if __name__ == "__main__":
    main()
