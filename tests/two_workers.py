"""One of two workers, which tests/test_workers.py starts: what it hears from the other, and its
updates on its half of a batch, go into a file.

    TF_CONFIG=... python -m tests.two_workers OUT.npz
"""

import sys

import numpy as np

from ppo.collectives import Collectives
from ppo.process.cluster import place
from ppo.process.device import start_tensorflow

SHIFT = np.array([0, 1000], np.int32)  # from one worker's shuffle to the next one's
CASES = {
    "one gradient": {"num_epochs": 1, "num_minibatches": 1, "max_grad_norm": 1e9},
    "whole update": {},
    "smoothed": {"value_rescaling": "smoothed"},
    "per_batch": {"value_rescaling": "per_batch"},
    "raw advantages": {"normalize_advantages": False},
    "minibatch limit": {"minibatch_kl_limit": 1e-4},
    "target": {"target_kl": 1e-4},
}


def arrays(updater, result) -> dict[str, np.ndarray]:
    """What an update led to."""
    found = {f"weights/{n}": w.numpy() for n, w in enumerate(updater.weights)}
    found |= {f"moments/{n}": m.numpy() for n, m in enumerate(updater.adam.first)}
    found |= {f"means/{name}": value for name, value in result.means.items()}
    return found | {"kls": result.kls, "smoothed": result.smoothed}


def main(out: str) -> None:
    here = place()
    workers = start_tensorflow(1, lambda: Collectives(here))

    from ppo import model
    from ppo.objective import Batch
    from ppo.update import NO_MEMORY, Updater
    from tests.test_update import KEY, batch, changed

    told = workers.gather(b"abcde"[: 3 + here.index])
    shared = workers.share(b"from the first" if here.index == 0 else b"")
    found = {"told": np.frombuffer(b"|".join([*told, shared]), np.uint8)}
    whole = batch(128)
    half = Batch(*(tensor[64 * here.index :][:64] for tensor in whole))
    for name, changes in CASES.items():
        params = changed(**changes, workers=2, minibatch_per="run")
        updater = Updater(model.build((3,), 4, "mlp"), params, 1, workers)
        result = updater.update(half, KEY + here.index * SHIFT, 0.01, 0.1, NO_MEMORY)
        found |= {f"{name}/{key}": array for key, array in arrays(updater, result).items()}
    np.savez(out, **found)


if __name__ == "__main__":
    main(sys.argv[1])
