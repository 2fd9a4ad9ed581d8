r"""How far is a gradient in bfloat16 from the same in float32, beside the noise of a minibatch?

    python -m benchmarks.precision --logdir=pretrained/pong
    python -m benchmarks.precision --pfile=example-pong-params.json --set picture_scaling=unit

Plays one rollout with a run's newest checkpoint, or with a new network, and computes the gradient
of the whole loss in both precisions, with the same weights, on some minibatches. Prints a JSON line
for each weight, medians over the minibatches: the norm of the difference divided by that of the
gradient, and two cosines, between the precisions, and between minibatches that follow each other.
Where the former is as near to 1 as the latter is far from it, rounding is nothing beside the noise.
The third cosine is that of the mean gradients over all these minibatches, so that what does not
average out shows. A last line compares values, and the advantages that follow from them.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ppo import checkpoint
from ppo.advantages import gae
from ppo.files.folder import RunFolder
from ppo.params import load, of_run
from ppo.process.arguments import expanded
from ppo.process.device import shards, start_tensorflow
from ppo.resolve import resolved
from ppo.settings import ResolvedParams

if TYPE_CHECKING:
    import keras

    from ppo.objective import Batch
    from ppo.rollout import Rollout

PRECISIONS = ("float32", "bfloat16")


def gradients(
    network: "keras.Model", batches: "Sequence[Batch]", params: ResolvedParams
) -> list[dict[str, np.ndarray]]:
    """The gradient of the whole loss for each minibatch, an array for each weight, compiled and in
    parallel slices as in an update. The old policy is the network's own, as at the first
    minibatch of an update.
    """
    import tensorflow as tf

    from ppo import model
    from ppo.objective import objective
    from ppo.update import INITIAL_RESCALING_STATE

    weights = {weight.path: weight.value for weight in network.trainable_weights}
    slices = shards(params.threads)

    @partial(tf.function, autograph=False)
    def gradient(batch: "Batch") -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits, values = model.in_shards(network, batch.observations, slices)
            log_probs = model.log_prob(logits, batch.actions)
            parts = objective(
                logits,
                log_probs,
                values,
                batch._replace(old_log_probs=tf.stop_gradient(log_probs)),
                tf.constant(params.clip_range),
                tf.constant(INITIAL_RESCALING_STATE),
                params,
            )
            loss = parts.policy_part + parts.value_part
        return tape.gradient(loss, weights)

    found = map(gradient, batches)
    return [{name: part.numpy().ravel() for name, part in of.items()} for of in found]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of the angle between two gradients."""
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def compared(settings: ResolvedParams, folder: RunFolder | None, minibatches: int) -> list[dict]:
    """A line for each weight, and one for the values."""
    from ppo import model
    from ppo.trainer import Trainer, batch_of

    trainer = Trainer(settings)
    if folder:
        trainer.restore(checkpoint.newest(folder))
    rollout = trainer.collector.collect(0)
    whole, _, _ = batch_of(rollout, settings)
    order = np.random.default_rng(0).permutation(settings.batch_size)
    parts = order[: minibatches * settings.minibatch_size].reshape(minibatches, -1)
    shape = trainer.envs.observation_shape, trainer.envs.num_actions
    found: dict[str, list[dict[str, np.ndarray]]] = {}
    values: dict[str, np.ndarray] = {}
    for precision in PRECISIONS:
        network = model.of_settings(*shape, settings.model_copy(update={"precision": precision}))
        network.set_weights(trainer.model.get_weights())
        found[precision] = gradients(network, [whole.rows(rows) for rows in parts], settings)
        values[precision] = np.array([network(of_step)[1] for of_step in rollout.observations])
    trainer.close()
    exact, rounded = (found[precision] for precision in PRECISIONS)
    lines: list[dict] = []
    for weight in exact[0]:
        ours, theirs = ([gradient[weight] for gradient in of] for of in (exact, rounded))
        pairs = list(zip(ours, theirs, strict=True))
        errors = [np.linalg.norm(a - b) / np.linalg.norm(a) for a, b in pairs]
        lines.append(
            {
                "weight": weight,
                "error": round(float(np.median(errors)), 4),
                "cosine": round(float(np.median([cosine(*pair) for pair in pairs])), 5),
                "cosine_of_minibatches": round(
                    float(np.median([cosine(*pair) for pair in itertools.pairwise(ours)])),
                    3,
                ),
                "cosine_of_means": round(cosine(np.sum(ours, 0), np.sum(theirs, 0)), 5),
            }
        )
    values_line = of_values(rollout, values["float32"], values["bfloat16"], settings)
    return [*lines, values_line]


def of_values(
    rollout: "Rollout", exact: np.ndarray, rounded: np.ndarray, settings: ResolvedParams
) -> dict[str, float]:
    """A line for values [T, N], and the advantages that follow from them."""

    def advantages(values: np.ndarray) -> np.ndarray:
        # The rollout's own last values serve both.
        following = np.concatenate([values[1:], rollout.next_values[-1:]])
        next_values = np.where(rollout.episode_over, rollout.next_values, following)
        of_rewards = rollout.rewards, values, next_values, rollout.episode_over
        return gae(*of_rewards, settings.gamma, settings.gae_lambda)[0]

    ours, theirs = advantages(exact), advantages(rounded)
    return {
        "value_error": round(float((rounded - exact).std()), 5),
        "value_std": round(float(exact.std()), 5),
        "advantage_error": round(float((theirs - ours).std()), 5),
        "advantage_std": round(float(ours.std()), 5),
    }


def main() -> None:
    """Compute, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--logdir", type=expanded, help="a run, whose newest checkpoint plays")
    source.add_argument("--pfile", type=expanded, help="settings of a new network")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--minibatches", type=int, default=8)
    options = parser.parse_args()
    folder = RunFolder(options.logdir) if options.logdir else None
    given = of_run(folder.params, options.set) if folder else load(options.pfile, options.set)
    settings = resolved(given)
    if not 1 < options.minibatches <= settings.num_minibatches:
        parser.error(
            f"--minibatches={options.minibatches}: choose 2 to num_minibatches, "
            f"{settings.num_minibatches}"
        )
    start_tensorflow(settings.threads)
    for line in compared(settings, folder, options.minibatches):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
