"""One of two workers, which tests/test_workers.py starts: what it hears from the other, and its
updates on its half of a batch, go into a file.

    PPO_LINK=... python -m tests.two_workers BATCH.npz OUT.npz CASE ...    (or TF_CONFIG)
"""

import sys

import numpy as np

from ppo.settings import Params
from ppo.system.tensorflow_start import start_tensorflow
from ppo.train import connect
from ppo.workers.cluster import this_worker

KEY = np.array([3, 4], np.int32)
SHIFT = np.array([0, 1000], np.int32)  # from one worker's shuffle to the next one's
CASES = {
    "one gradient": {"num_epochs": 1, "num_minibatches": 1, "max_grad_norm": 1e9},
    "whole update": {},
    "smoothed": {"value_rescaling": "smoothed"},
    "early exit": {"minibatch_kl_limit": 2e-3, "normalize_advantages": False},
}


def arrays(updater, result) -> dict[str, np.ndarray]:
    """What an update led to."""
    from ppo.telemetry.update_statistics import MEANS

    found = {f"weights/{n}": w.numpy() for n, w in enumerate(updater.weights)}
    found |= {f"moments/{n}": m.numpy() for n, m in enumerate(updater.adam.first)}
    found |= {f"means/{name}": result.by_minibatch(name) for name in MEANS}
    return found | {"rescaling": result.rescaling_state}


def params_of(case: str, **others) -> Params:
    """The settings of a case, with some others."""
    small = {"network": "mlp", "num_envs": 4, "num_steps": 16, "num_epochs": 3}
    small |= {"num_minibatches": 2, "max_grad_norm": 0.05}
    return Params(**{**small, **CASES[case], **others})


def shared_by_two(case: str) -> Params:
    """Return the settings of two workers that share each minibatch."""
    # Shared out as "run" has it, an epoch has a minibatch for each worker at least.
    split = "worker" if case == "one gradient" else "run"
    return params_of(case, workers=2, minibatch_per=split)


def main(arguments: list[str]) -> None:
    data, out, *cases = arguments
    worker = this_worker()
    workers = start_tensorflow(1, lambda: connect(worker))

    import tensorflow as tf

    from ppo import model
    from ppo.objective import Batch
    from ppo.update import INITIAL_RESCALING_STATE, Updater

    gathered = workers.all_gather(b"abcde"[: 3 + worker.index])
    shared = workers.broadcast(b"from the first" if worker.index == 0 else b"")
    found = {"gathered": np.frombuffer(b"|".join([*gathered, shared]), np.uint8)}
    with np.load(data) as whole:
        half = Batch(
            *(tf.constant(whole[name][64 * worker.index :][:64]) for name in Batch._fields)
        )
    for name in cases:
        updater = Updater(model.build((3,), 4, "mlp"), shared_by_two(name), 1, workers)
        result = updater.update(
            half, KEY + worker.index * SHIFT, 0.01, 0.1, INITIAL_RESCALING_STATE
        )
        found |= {f"{name}/{key}": array for key, array in arrays(updater, result).items()}
    np.savez(out, **found)


if __name__ == "__main__":
    main(sys.argv[1:])
