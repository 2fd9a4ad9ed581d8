"""Improving the policy on one rollout: epochs x minibatches of gradient steps, one graph."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ppo import flight, losses, model
from ppo.distribution import OneWorker, Workers
from ppo.inputs import Inputs
from ppo.model import in_shards, log_prob
from ppo.objective import Batch, Maxima, Means, objective
from ppo.optimizer import Adam
from ppo.process.arrays import is_shareable
from ppo.settings import Params

NO_MEMORY = np.zeros(2, np.float32)  # initial state of the smoothed value rescaling

# Means of a minibatch: of its samples, and of its gradient.
MEANS = (*Means._fields, "grad_norm", "grad_cut")
NUM_MAXIMA = len(Maxima._fields)
LOSS, KL, GAIN = map(MEANS.index, ("loss", "approx_kl", "surrogate_gain"))
# Sums over the samples beyond the clip range, and their share: logged as the mean of those samples.
BEYOND = {"ratio_above": "above", "ratio_below": "below"}


def flattened(
    observations: np.ndarray,
    actions: np.ndarray,
    log_probs: np.ndarray,
    values: np.ndarray,
    advantages: np.ndarray,
    returns: np.ndarray,
) -> Batch:
    """[T, N, ...] arrays as a Batch of B = T N samples. It may share their memory, and is valid
    until they change.
    """
    arrays = (observations, actions, log_probs, values, advantages, returns)
    return Batch(*(_tensor(array.reshape(-1, *array.shape[2:])) for array in arrays))


def _tensor(array: np.ndarray) -> tf.Tensor:
    if is_shareable(array):
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)


@dataclass(frozen=True)
class UpdateResult:
    """The result of an update.

    ``means`` and ``maxima`` have an entry for each epoch that ran: the mean, or the largest value,
    over its minibatches, of which the share ``ran`` was made; with several workers, the means are
    those over all of them, the maxima this one's. ``kls`` has the mean approximate KL of each
    minibatch, before its step; ``moved`` has ``flight.layer_movement`` of each layer.
    ``smoothed`` is the value rescaling's state. ``finite`` is False if a gradient was not, which
    was not applied, or if a weight or a moment of the optimiser no longer is.
    """

    means: dict[str, np.ndarray]
    maxima: dict[str, np.ndarray]
    ran: np.ndarray
    kls: np.ndarray
    moved: dict[str, np.ndarray]
    smoothed: np.ndarray
    finite: bool

    @property
    def epochs(self) -> int:
        """Epochs that ran."""
        return len(self.maxima["ratio"])

    def scalars(self) -> dict[str, float]:
        """Each statistic over every minibatch of every epoch."""
        means = {
            name: float(np.average(by_epoch, weights=self.ran))
            for name, by_epoch in self.means.items()
        }
        for name, share in BEYOND.items():
            samples = means.pop(share)
            means[name] = means[name] / samples if samples else math.nan
        scalars = {f"train/{name}": mean for name, mean in means.items()}
        scalars["train/approx_kl_max"] = float(self.means["approx_kl"].max())
        scalars["train/surrogate_gain_last"] = float(self.means["surrogate_gain"][-1])
        scalars["train/ratio_max"] = float(self.maxima["ratio"].max())
        scalars["train/minibatch_kl_max"] = float(self.kls.max())
        scalars["train/minibatch_kl_argmax"] = float(self.kls.argmax() + 1)
        for layer, (step, largest, change) in self.moved.items():
            scalars[f"layers/step_{layer}"] = float(step)
            scalars[f"layers/step_max_{layer}"] = float(largest)
            scalars[f"layers/change_{layer}"] = float(change)
        return scalars

    def by_epoch(self) -> dict[str, float]:
        """Approximate KL and ratio, epoch by epoch."""
        scalars = {}
        for name in ("approx_kl", "ratio"):
            for epoch in range(self.epochs):
                scalars[f"epochs/{name}_{epoch + 1}"] = float(self.means[name][epoch])
                scalars[f"epochs/{name}_max_{epoch + 1}"] = float(self.maxima[name][epoch])
        return scalars


class _Record(NamedTuple):
    """An update in tensors: the fields of ``UpdateResult``, and how much of them was made."""

    means: tf.Tensor  # [epochs, MEANS]
    maxima: tf.Tensor  # [epochs, Maxima]
    kls: tf.Tensor  # [epochs x minibatches]
    moved: tf.Tensor  # [layers, 3]
    smoothed: tf.Tensor
    finite: tf.Tensor
    epochs: tf.Tensor
    minibatches: tf.Tensor


class _Minibatch(NamedTuple):
    """The result of a minibatch; ``applied`` says whether its step was made."""

    means: tf.Tensor  # [MEANS]
    maxima: tf.Tensor  # [Maxima]
    smoothed: tf.Tensor
    finite: tf.Tensor
    applied: tf.Tensor


class _Carried(NamedTuple):
    """What one minibatch hands to the next, beside the weights."""

    smoothed: tf.Tensor
    finite: tf.Tensor
    proceed: tf.Tensor
    kls: tf.Tensor  # [epochs x minibatches]
    seen: tf.Tensor  # minibatches so far


class Updater:
    """Network and optimiser of a run, and the compiled update of both; a minibatch is computed
    in ``shards`` parallel slices.
    """

    def __init__(
        self, network: keras.Model, params: Params, shards: int, workers: Workers | None = None
    ):
        self.model, self.params, self.shards = network, params, shards
        self.workers = workers or OneWorker()
        self.layers = model.weighted_layers(network)
        self.weights = [weight.value for weight in network.trainable_weights]
        betas = params.adam_beta_1, params.adam_beta_2
        self.adam = Adam(self.weights, params.adam_epsilon, *betas)
        self._limits_drift = params.feature_drift_coef > 0
        whole = model.with_last_inputs(network) if self._limits_drift else network
        self._inputs = Inputs(whole, params.batch_size, params.minibatch_size, shards)
        self._graph: Callable = tf.function(self._update, autograph=False)

    def update(
        self,
        batch: Batch,
        key: np.ndarray,
        learning_rate: float,
        clip_range: float,
        smoothed: np.ndarray,
    ) -> UpdateResult:
        """All epochs and minibatches over one batch, reshuffled with ``key`` in each epoch. Raises
        WorkerLost.
        """
        with self.workers.watched():
            record = _Record(
                *self._graph(
                    batch,
                    tf.constant(key),
                    tf.constant(learning_rate, tf.float32),
                    tf.constant(clip_range, tf.float32),
                    tf.constant(smoothed, tf.float32),
                )
            )
        epochs, minibatches = int(record.epochs), int(record.minibatches)
        ran = np.ones(epochs, np.float32)
        ran[-1] = minibatches / self.params.minibatches_per_epoch - (epochs - 1)
        return UpdateResult(
            dict(zip(MEANS, record.means.numpy()[:epochs].T, strict=True)),
            dict(zip(Maxima._fields, record.maxima.numpy()[:epochs].T, strict=True)),
            ran,
            record.kls.numpy()[:minibatches],
            dict(zip(self.layers, record.moved.numpy(), strict=True)),
            record.smoothed.numpy(),
            bool(record.finite),
        )

    # Loops and conditions are written with TensorFlow's operations: to translate those of Python
    # took three seconds of every start.
    def _update(
        self,
        batch: Batch,
        key: tf.Tensor,
        learning_rate: tf.Tensor,
        clip_range: tf.Tensor,
        smoothed: tf.Tensor,
    ) -> _Record:
        p = self.params
        if p.adam_reset:
            self.adam.reset()
        weights = self._weights_by_layer()
        inputs = self._inputs.of(batch.observations)
        batch = batch._replace(observations=())
        features = self._features(inputs) if self._limits_drift else None

        def step(rows: tf.Tensor, moments: tf.Tensor | None, smoothed: tf.Tensor) -> _Minibatch:
            old_features = None if features is None else tf.gather(features, rows)
            samples = batch.rows(rows)
            outputs = partial(self._outputs, inputs, rows)
            return self._minibatch(
                outputs, samples, old_features, moments, learning_rate, clip_range, smoothed
            )

        def epoch(
            epochs: tf.Tensor, means: tf.Tensor, maxima: tf.Tensor, carried: _Carried
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, _Carried]:
            order = tf.random.experimental.stateless_shuffle(
                tf.range(p.batch_size), tf.stack([key[0], key[1] + epochs])
            )
            rows = tf.reshape(order, [p.minibatches_per_epoch, p.minibatch_size])
            moments = self._moments(batch.advantages, rows)
            of_epoch, highest, carried = self._epoch(rows, moments, step, carried)
            here = tf.one_hot(epochs, p.num_epochs)[:, tf.newaxis]
            return epochs + 1, means + here * of_epoch, maxima + here * highest, carried

        kls = tf.zeros(p.num_epochs * p.minibatches_per_epoch)
        start = _Carried(smoothed, tf.constant(True), tf.constant(True), kls, tf.constant(0))
        epochs, means, maxima, end = tf.while_loop(
            lambda epochs, means, maxima, carried: (epochs < p.num_epochs) & carried.proceed,
            epoch,
            (
                tf.constant(0),
                tf.zeros([p.num_epochs, len(MEANS)]),
                tf.zeros([p.num_epochs, NUM_MAXIMA]),
                start,
            ),
        )
        moved = [
            flight.layer_movement(before, after, learning_rate)
            for before, after in zip(weights, self._weights_by_layer(), strict=True)
        ]
        # A finite gradient can still overflow the optimiser, or a weight.
        state = [*self.weights, *self.adam.first, *self.adam.second]
        all_finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in state])
        finite = end.finite & all_finite
        return _Record(
            means, maxima, end.kls, tf.stack(moved), end.smoothed, finite, epochs, end.seen
        )

    def _epoch(
        self,
        rows: tf.Tensor,
        moments: tf.Tensor | None,
        step: Callable[[tf.Tensor, tf.Tensor | None, tf.Tensor], _Minibatch],
        carried: _Carried,
    ) -> tuple[tf.Tensor, tf.Tensor, _Carried]:
        """Minibatches of the given rows, [minibatches, samples], and ``_moments``: the mean of
        their means, the largest of their maxima, and what is carried into the next epoch.
        """
        count = self.params.minibatches_per_epoch

        def minibatch(
            number: tf.Tensor, sums: tf.Tensor, tops: tf.Tensor, carried: _Carried
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, _Carried]:
            of_all = None if moments is None else moments[number]
            made = step(rows[number], of_all, carried.smoothed)
            here = tf.range(carried.kls.shape[0]) == carried.seen
            kls = tf.where(here, made.means[KL], carried.kls)
            carried = _Carried(made.smoothed, made.finite, made.applied, kls, carried.seen + 1)
            return number + 1, sums + made.means, tf.maximum(tops, made.maxima), carried

        number, sums, tops, carried = tf.while_loop(
            lambda number, sums, tops, carried: (number < count) & carried.proceed,
            minibatch,
            (tf.constant(0), tf.zeros(len(MEANS)), tf.zeros(NUM_MAXIMA), carried),
        )
        limited = self.params.minibatch_kl_limit is not None
        means = sums / (tf.cast(number, tf.float32) if limited else count)
        return means, tops, carried._replace(proceed=carried.proceed & self._goes_on(means))

    def _goes_on(self, means: tf.Tensor) -> tf.Tensor:
        """Whether another epoch may follow one with these means."""
        p = self.params
        if p.target_kl is None:
            return tf.constant(True)
        enough = means[KL] > p.target_kl
        if p.target_kl_if_improved:
            enough &= means[GAIN] > 0
        return ~enough

    def _minibatch(
        self,
        outputs: Callable[[], tuple[tf.Tensor, ...]],
        batch: Batch,
        old_features: tf.Tensor | None,
        advantage_moments: tf.Tensor | None,
        learning_rate: tf.Tensor,
        clip_range: tf.Tensor,
        smoothed: tf.Tensor,
    ) -> _Minibatch:
        """One gradient step on the network's outputs for a minibatch, the mean over all workers'
        parts of it. A gradient that is not finite is not applied, nor is one of a minibatch beyond
        the KL limit.
        """
        p = self.params
        with tf.GradientTape() as tape:
            logits, values, *rest = outputs()
            log_probs = log_prob(logits, batch.actions)
            drift = None
            if old_features is not None:
                features = model.preactivations(self.model, rest[0])
                drift = losses.feature_drift(features, old_features)
            result = objective(
                logits,
                log_probs,
                values,
                batch,
                clip_range,
                smoothed,
                p,
                drift,
                advantage_moments,
                self._mean,
            )
        # Together, since what costs is the number of exchanges. One worker's NaN is everyone's.
        gradients = tape.gradient(result.loss, self.weights)
        *gradients, means = self.workers.mean([*gradients, tf.stack(result.means)])
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(means[LOSS])
        applied = finite
        if p.minibatch_kl_limit is not None:
            applied &= means[KL] <= p.minibatch_kl_limit

        def apply() -> tf.Operation:
            clipped, _ = tf.clip_by_global_norm(gradients, p.max_grad_norm, norm)
            self.adam.apply(clipped, learning_rate)
            return tf.no_op()

        tf.cond(applied, apply, tf.no_op)
        of_gradient = tf.stack([norm, flight.cut_share(norm, p.max_grad_norm)])
        means = tf.concat([means, of_gradient], 0)
        return _Minibatch(means, tf.stack(result.maxima), result.smoothed, finite, applied)

    def _moments(self, advantages: tf.Tensor, rows: tf.Tensor) -> tf.Tensor | None:
        """Mean and standard deviation of each minibatch's advantages over all workers, from those
        in this one's rows [minibatches, B]; None where a minibatch has no other parts.
        """
        if self.workers.count == 1 or not self.params.normalize_advantages:
            return None
        # In float64 the difference of two squares keeps its digits.
        wide = tf.cast(tf.gather(advantages, rows), tf.float64)
        own = [tf.reduce_mean(wide, -1), tf.reduce_mean(tf.square(wide), -1)]
        mean, square = self.workers.mean(own)
        std = tf.sqrt(tf.maximum(square - tf.square(mean), 0.0))
        return tf.cast(tf.stack([mean, std], -1), advantages.dtype)

    def _mean(self, samples: tf.Tensor) -> tf.Tensor:
        (mean,) = self.workers.mean([tf.reduce_mean(samples)])
        return mean

    def _weights_by_layer(self) -> list[list[tf.Tensor]]:
        """The weights as they are now, layer by layer."""
        layers = self.layers.values()
        return [[tf.identity(weight.value) for weight in layer] for layer in layers]

    def _outputs(self, inputs: Any, rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The network's outputs for some rows of the batch."""
        return in_shards(self._inputs.network, inputs, self.shards, rows)

    def _features(self, inputs: Any) -> tf.Tensor:
        """The last hidden layer's pre-activations for the whole batch, a minibatch at a time."""
        p = self.params

        def of_part(rows: tf.Tensor) -> tf.Tensor:
            outputs = self._outputs(inputs, rows)
            return model.preactivations(self.model, outputs[-1])

        rows = tf.reshape(tf.range(p.batch_size), [p.minibatches_per_epoch, p.minibatch_size])
        parts = tf.map_fn(of_part, rows, fn_output_signature=tf.float32)
        return tf.reshape(parts, [p.batch_size, parts.shape[-1]])
