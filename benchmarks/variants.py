"""What the experimental settings and the diagnostics cost: updates of each, in turn.

    python -m benchmarks.variants --rounds=12

Only the update differs between them, so updates are timed, on one random batch of the reference
work (benchmarks/reference.json), and each is compared with the plain one of its round.
"""

import statistics
import time

import numpy as np

from benchmarks.reference import reference
from ppo.system.arguments import argument_parser
from ppo.system.device import start_tensorflow

VARIANTS: dict[str, dict] = {
    "plain": {},
    "logit": {"delta_target_policy": "logit"},
    "peaked": {"peaked_policy_loss": True},
    "rollback": {"beyond_target_slope": 0.3},
    "quadratic": {"quadratic_policy_loss": True},
    "per_state": {"value_rescaling": "per_state"},
    "per_batch": {"value_rescaling": "per_batch"},
    "smoothed": {"value_rescaling": "smoothed"},
    "drift": {"feature_drift_coef": 1.0},
    "detached": {"value_gradient": "detached"},
    "separate": {"value_gradient": "separate"},
}


NUM_ACTIONS = 6  # of Pong


def random_rollout(shape: tuple[int, int], pixels: tuple[int, int, int]) -> list[np.ndarray]:
    """Random numbers in the place of a rollout's observations, actions, and so on."""
    rng = np.random.default_rng(0)
    observations = rng.integers(0, 256, (*shape, *pixels)).astype(np.uint8)
    actions = rng.integers(0, NUM_ACTIONS, shape).astype(np.int32)
    log_probs = np.full(shape, -np.log(NUM_ACTIONS), np.float32)
    return [observations, actions, log_probs, *rng.normal(size=(3, *shape)).astype(np.float32)]


def main() -> None:
    """Measure in turn, print the ratios."""
    parser = argument_parser("benchmarks.variants", __doc__)
    parser.add_argument("--network", default="nature", choices=["nature", "a3c", "impala"])
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    base = reference([f"network={options.network}"])
    start_tensorflow(base.threads)

    from ppo import model
    from ppo.objective import Batch
    from ppo.telemetry.diagnostics import Diagnostics
    from ppo.update import INITIAL_RESCALING_STATE, Updater

    pixels = base.screen_size, base.screen_size, base.frame_stack
    batch = Batch.of_rollout(*random_rollout((base.num_steps, base.num_envs), pixels))
    key = np.array([1, 2], np.int32)
    updaters, diagnoses = {}, None
    for name, settings in VARIANTS.items():
        params = base.model_copy(update=settings)
        network = model.build_model(pixels, NUM_ACTIONS, params)
        updaters[name] = Updater(network, params, base.threads)
        diagnoses = diagnoses or Diagnostics(network, params, base.threads)
    assert diagnoses is not None
    seconds: dict[str, list[float]] = {name: [] for name in [*VARIANTS, "diagnostics"]}
    for number in range(options.rounds + 1):
        for name, updater in updaters.items():
            began = time.perf_counter()
            updater.update(batch, key, 2.5e-4, 0.1, INITIAL_RESCALING_STATE)
            if number:  # the first round compiles
                seconds[name].append(time.perf_counter() - began)
        began = time.perf_counter()
        diagnoses.measure(batch, key, 0.1, INITIAL_RESCALING_STATE)
        if number:
            seconds["diagnostics"].append(time.perf_counter() - began)
    print(f"{options.network}: plain update {statistics.median(seconds['plain']):.3f} s")
    for name, times in seconds.items():
        ratios = [t / p for t, p in zip(times, seconds["plain"], strict=True)]
        print(f"{name}: {statistics.median(ratios):.3f} of the plain update's time")


if __name__ == "__main__":
    main()
