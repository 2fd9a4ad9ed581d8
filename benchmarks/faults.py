"""Faults planted in healthy runs, to see whether `run_atari.py --explain` finds them.

    python -m benchmarks.faults --fault="learning rate x 10" --at-step=400000 --logdir=DIR \
        --pfile=pong --set total_steps=600000

A fault begins with the first iteration from a step on, without a trace in the settings.
With --draw a seed chooses the fault, and up to --within steps more; --open prints its choice.
All other arguments go to run_atari.py. A run that is resumed needs its fault again.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ppo import train
from ppo.system.arguments import argument_parser

Trainer = Any  # of ppo.trainer, which must not import TensorFlow before a run has started it
Update = Callable[..., Any]


def _wrapped(owner: object, method: str, around: Update) -> None:
    call = getattr(owner, method)
    setattr(owner, method, lambda *arguments: around(call, *arguments))


def _rate(learner: Trainer) -> None:
    def faster(update: Update, batch: Any, key: Any, rate: float, *rest: Any) -> Any:
        return update(batch, key, 10 * rate, *rest)

    _wrapped(learner.updater, "update", faster)


def _clip_off(learner: Trainer) -> None:
    def unclipped(update: Update, batch: Any, key: Any, rate: float, _: float, *rest: Any) -> Any:
        return update(batch, key, rate, 1e6, *rest)

    _wrapped(learner.updater, "update", unclipped)


def _rewards(learner: Trainer) -> None:
    def large(collect: Update, *arguments: Any) -> Any:
        rollout = collect(*arguments)
        return replace(rollout, rewards=1000 * rollout.rewards)

    _wrapped(learner.collector, "collect", large)


def _with_settings(**changes: object) -> Callable[[Trainer], None]:
    def change(learner: Trainer) -> None:
        learner.params = learner.params.model_copy(update=changes)
        for part in (learner.updater, learner.diagnostics):
            part.params = learner.params
            part.compile()

    return change


def _value_coefficient(learner: Trainer) -> None:
    _with_settings(value_coef=100 * learner.params.value_coef)(learner)


def _weights(learner: Trainer) -> None:
    rng = np.random.default_rng(1)
    weights = learner.model.get_weights()
    trunk = len(weights) - 4  # two heads, each a kernel and its biases
    noisy = [w + w.std() * rng.normal(size=w.shape) for w in weights[:trunk]]
    learner.model.set_weights([*noisy, *weights[trunk:]])


FAULTS: dict[str, Callable[[Trainer], None]] = {
    "learning rate x 10": _rate,
    "lambda 0": _with_settings(gae_lambda=0.0),
    "clip off": _clip_off,
    "rewards x 1000": _rewards,
    "value coefficient x 100": _value_coefficient,
    "entropy coefficient 0.5": _with_settings(entropy_coef=0.5),
    "trunk's weights perturbed": _weights,
}


def plant(fault: str, step: int) -> None:
    """Plant a fault in the runs of this process, once they have reached a step."""
    planted = False

    def faulty(iterate: Update, learner: Trainer, *rest: Any) -> Any:
        nonlocal planted
        if learner.step >= step and not planted:
            planted = True
            FAULTS[fault](learner)
        return iterate(learner, *rest)

    def started(start: Update, *arguments: Any) -> Any:
        workers = start(*arguments)
        from ppo.trainer import Trainer

        _wrapped(Trainer, "_iterate", faulty)
        return workers

    _wrapped(train, "start_tensorflow", started)


def main() -> int:
    """Plant the fault, and hand the rest to the command."""
    import run_atari

    parser = argument_parser("benchmarks.faults", __doc__)
    parser.add_argument("--fault", choices=["none", *FAULTS], default="none")
    parser.add_argument("--at-step", type=int, required=True)
    parser.add_argument("--draw", type=int, metavar="SEED")
    parser.add_argument("--within", type=int, default=1, metavar="STEPS")
    parser.add_argument("--open", action="store_true")
    options, rest = parser.parse_known_args()
    fault, step = options.fault, options.at_step
    if options.draw is not None:
        rng = np.random.default_rng(options.draw)
        fault, step = rng.choice(list(FAULTS)), step + rng.integers(options.within)
    if options.open:
        print(f"{fault} from step {step:,}")
        return 0
    if fault != "none":
        plant(fault, step)
    return run_atari.main(rest)


if __name__ == "__main__":
    sys.exit(main())
