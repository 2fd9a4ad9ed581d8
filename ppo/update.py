"""Improve the policy on one rollout: epochs x minibatches. An epoch is one compiled function."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ppo import losses, model
from ppo.nn.compiled import compiled
from ppo.nn.optimizer import Adam, Undo
from ppo.nn.preprocessed import SplitNetwork
from ppo.nn.shards import in_shards
from ppo.objective import Batch, objective
from ppo.settings import Params
from ppo.telemetry import movement
from ppo.telemetry.update_statistics import GAIN, KL, LOSS, NORM, UpdateResult, statistics
from ppo.workers.interface import Workers

INITIAL_RESCALING_STATE = np.zeros(2, np.float32)


class UpdateData(NamedTuple):
    """The data of every gradient step of an update. ``prepared`` is what the network computes from
    the observations without weights (``SplitNetwork.prepare``). ``old_features`` are the
    pre-activations before the update, [B, D], or None without ``feature_drift_coef``.
    """

    batch: Batch
    prepared: Any
    old_features: tf.Tensor | None
    learning_rate: tf.Tensor
    clip_range: tf.Tensor


class Updater:
    """Network and optimiser of a run, and their update, computed in ``shards`` parallel slices."""

    def __init__(
        self, network: keras.Model, params: Params, shards: int, workers: Workers | None = None
    ):
        self.model, self.params, self.shards = network, params, shards
        self.workers = workers or Workers()
        self.layers = model.weighted_layers(network)
        self.weights = [weight.value for weight in network.trainable_weights]
        betas = params.adam_beta_1, params.adam_beta_2
        self.adam = Adam(self.weights, params.adam_epsilon, *betas)
        undoes = params.undo_beyond_kl_limit
        self._undo = Undo([*self.weights, *self.adam.variables()] if undoes else [])
        outputs = model.with_last_inputs(network) if params.feature_drift_coef else network
        self._split = SplitNetwork(outputs, params.batch_size, params.minibatch_size, shards)
        self.compile()

    def compile(self) -> None:
        """Compile epoch, features and movement. Call it again after a coefficient of the loss in
        ``params`` has changed. Optimiser and network remain as they were built.
        """
        self._run_epoch, self._compute_features, self._measure_movement = (
            compiled(function) for function in (self._epoch, self._features, self._movement)
        )

    def update(
        self,
        batch: Batch,
        key: np.ndarray,
        learning_rate: float,
        clip_range: float,
        rescaling_state: np.ndarray,
    ) -> UpdateResult:
        """Run the epochs over one batch. ``key`` determines the random order of each epoch.
        The update ends after an epoch above ``target_kl`` (with ``target_kl_if_improved``, only if
        its mean surrogate gain is positive), or at the first skipped step.
        ``rescaling_state`` is the state of ``losses.value_rescaling``, [2]. Raises WorkerLost.
        """
        p, epochs = self.params, []
        if p.adam_reset:
            self.adam.reset()
        self._undo.keep()  # if the first minibatch is skipped, this update has no step to undo
        weights_before = self._weights_by_layer()
        prepared = self._split.prepare(batch.observations)
        old_features = self._compute_features(prepared) if p.feature_drift_coef else None
        rate, clip = tf.constant(learning_rate, tf.float32), tf.constant(clip_range, tf.float32)
        data = UpdateData(batch, prepared, old_features, rate, clip)
        state = tf.constant(rescaling_state, tf.float32)
        with self.workers.watched():
            for epoch in range(p.num_epochs):
                minibatches = self._shuffled(key, epoch)
                rows, state, applied = self._run_epoch(data, minibatches, state)
                epochs.append(rows.numpy())
                if not applied or self._stops_early(epochs[-1].mean(0)):
                    break
        movements, finite = self._measure_movement(weights_before, rate)
        return UpdateResult(
            epochs,
            dict(zip(self.layers, movements.numpy(), strict=True)),
            state.numpy(),
            bool(finite) and all(np.isfinite(epochs[-1][-1, [LOSS, NORM]])),
        )

    def _shuffled(self, key: np.ndarray, epoch: int) -> tf.Tensor:
        """Return the sample indices of each minibatch of an epoch, [minibatches, M]."""
        p = self.params
        key = key + np.array([0, epoch], key.dtype)  # it may wrap
        order = tf.random.experimental.stateless_shuffle(tf.range(p.batch_size), tf.constant(key))
        return tf.reshape(order, [p.minibatches_per_epoch, p.minibatch_size])

    def _stops_early(self, means: np.ndarray) -> bool:
        """Whether an epoch with these mean statistics ends the update: see ``update``."""
        p = self.params
        if p.target_kl is None or means[KL] <= p.target_kl:
            return False
        return not p.target_kl_if_improved or means[GAIN] > 0

    def _epoch(
        self, data: UpdateData, minibatches: tf.Tensor, rescaling_state: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Make a gradient step on each minibatch, and end the epoch at the first that is skipped.
        Return a row of STATISTICS for each minibatch, the new rescaling state, and whether the
        last step was applied.
        """
        count = self.params.minibatches_per_epoch
        moments = self._advantage_moments(data.batch.advantages, minibatches)

        def step(
            number: tf.Tensor, rows: tf.TensorArray, state: tf.Tensor, _: tf.Tensor
        ) -> tuple[tf.Tensor, tf.TensorArray, tf.Tensor, tf.Tensor]:
            own_moments = None if moments is None else moments[number]
            row, state, applied = self._gradient_step(data, minibatches[number], own_moments, state)
            return number + 1, rows.write(number, row), state, applied

        number, rows, state, applied = tf.while_loop(
            lambda number, rows, state, applied: (number < count) & applied,
            step,
            (tf.constant(0), tf.TensorArray(tf.float32, count), rescaling_state, tf.constant(True)),
        )
        return rows.stack()[:number], state, applied

    def _gradient_step(
        self, data: UpdateData, indices: tf.Tensor, moments: tf.Tensor | None, state: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Make one gradient step on the samples at ``indices``, with the mean of all workers'
        gradients. Return its STATISTICS, the new ``state`` of the value rescaling, and whether the
        step was applied. A step is skipped if its gradient or loss is not finite, or its minibatch
        is beyond the KL limit. With ``undo_beyond_kl_limit`` a skipped step undoes the one before.
        """
        p, minibatch, network = self.params, data.batch.rows(indices), self._split.network
        with tf.GradientTape() as tape:
            logits, values, *rest = in_shards(network, data.prepared, self.shards, indices)
            drift = None
            if data.old_features is not None:
                features = model.preactivations(self.model, rest[0])
                drift = losses.feature_drift(features, tf.gather(data.old_features, indices))
            result = objective(
                logits,
                values,
                minibatch,
                clip_range=data.clip_range,
                rescaling_state=state,
                params=p,
                drift=drift,
                moments=moments,
                mean=self._mean,
            )
        means, maxima = statistics(minibatch, data.clip_range, result)
        # Workers exchange gradients and statistics at once, because each exchange costs time. A NaN
        # of one worker makes the mean NaN, so all workers skip the step.
        zero = tf.UnconnectedGradients.ZERO  # for weights that a user's trunk does not train
        gradients = tape.gradient(result.loss, self.weights, unconnected_gradients=zero)
        *gradients, means = self.workers.all_reduce_mean([*gradients, tf.stack(means)])
        norm = tf.linalg.global_norm(gradients)
        applied = tf.math.is_finite(norm) & tf.math.is_finite(means[LOSS])
        if p.minibatch_kl_limit is not None:
            applied &= means[KL] <= p.minibatch_kl_limit
        rate = data.learning_rate
        tf.cond(applied, lambda: self._apply(gradients, norm, rate), self._undo.restore)
        gradient_statistics = tf.stack([norm, movement.cut_share(norm, p.max_grad_norm)])
        row = tf.concat([means, gradient_statistics, tf.stack(maxima)], 0)
        return row, tf.where(applied, result.rescaling_state, state), applied

    def _apply(
        self, gradients: list[tf.Tensor], norm: tf.Tensor, learning_rate: tf.Tensor
    ) -> tf.Operation:
        """Clip the gradients and make a step of Adam. With undo, first copy the state."""
        self._undo.keep()
        clipped, _ = tf.clip_by_global_norm(gradients, self.params.max_grad_norm, norm)
        self.adam.apply(clipped, learning_rate)
        return tf.no_op()

    def _mean(self, values: tf.Tensor) -> tf.Tensor:
        """Return the mean over the samples of all workers, for the value rescaling."""
        return self.workers.all_reduce_mean([tf.reduce_mean(values)])[0]

    def _advantage_moments(self, advantages: tf.Tensor, indices: tf.Tensor) -> tf.Tensor | None:
        """Return mean and standard deviation of each minibatch's advantages over all workers, from
        this worker's sample ``indices``, [minibatches, M]. None for one worker, or if advantages
        are not normalised.
        """
        if self.workers.count == 1 or not self.params.normalize_advantages:
            return None
        # In float64 the difference of two squares keeps its digits.
        wide = tf.cast(tf.gather(advantages, indices), tf.float64)
        means = [tf.reduce_mean(wide, -1), tf.reduce_mean(tf.square(wide), -1)]
        mean, square = self.workers.all_reduce_mean(means)
        std = tf.sqrt(tf.maximum(square - tf.square(mean), 0.0))
        return tf.cast(tf.stack([mean, std], -1), advantages.dtype)

    def _weights_by_layer(self) -> list[list[tf.Tensor]]:
        layers = self.layers.values()
        return [[tf.identity(weight.value) for weight in layer] for layer in layers]

    def _features(self, prepared: Any) -> tf.Tensor:
        """Return the last hidden layer's pre-activations for the whole batch."""
        p = self.params

        def part_features(rows: tf.Tensor) -> tf.Tensor:
            outputs = in_shards(self._split.network, prepared, self.shards, rows)
            return model.preactivations(self.model, outputs[-1])

        rows = tf.reshape(tf.range(p.batch_size), [p.minibatches_per_epoch, p.minibatch_size])
        parts = tf.map_fn(part_features, rows, fn_output_signature=tf.float32)
        return tf.reshape(parts, [p.batch_size, parts.shape[-1]])

    def _movement(
        self, before: list[list[tf.Tensor]], learning_rate: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return how far each layer moved, [layers, 3], and whether weights and optimiser are
        finite: a finite gradient can still overflow them.
        """
        movements = [
            movement.layer_movement(old, new, learning_rate)
            for old, new in zip(before, self._weights_by_layer(), strict=True)
        ]
        state = [*self.weights, *self.adam.first, *self.adam.second]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in state])
        return tf.stack(movements), finite
