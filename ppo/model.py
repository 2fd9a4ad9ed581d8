"""One network with a shared trunk, giving the policy's logits and the value."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ppo.params import NetworkSettings

# Filters, kernel and stride of each convolution, then the units of the dense layer.
NETWORKS: dict[str, tuple[tuple[tuple[int, int, int], ...], tuple[int, ...]]] = {
    "nature": (((32, 8, 4), (64, 4, 2), (64, 3, 1)), (512,)),  # Mnih et al. 2015
    "a3c": (((16, 8, 4), (32, 4, 2)), (256,)),  # Mnih et al. 2016
    "mlp": ((), (64, 64)),
}
TRUNK_GAIN, POLICY_GAIN, VALUE_GAIN = 2**0.5, 0.01, 1.0


class PixelConv2D(keras.layers.Conv2D):
    """A convolution over bytes x: f(x) * kernel + bias, where f is the ``scaling``.

    "unit"          f(x) = x / 255
    "centered"      f(x) = (x - mean(x)) / 255, the mean over one observation
    "standardized"  f(x) = (x - mean(x)) / max(std(x), 1)

    All are linear in the kernel, which takes up the scale, so that no pixel is changed.
    Where the stride divides the kernel it is computed as a convolution of stride 1 over blocks of
    stride x stride pixels (space to depth), the same function at a better speed.
    """

    def __init__(self, *arguments: Any, scaling: str = "unit", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.scaling = scaling

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        kernel = self.kernel * (1.0 / 255.0)
        floats = tf.cast(pixels, kernel.dtype)  # before they are moved: oneDNN moves no bytes
        outputs = self._convolved(floats, kernel)
        if self.scaling != "unit":
            mean = tf.reduce_mean(floats, [1, 2, 3], keepdims=True)
            outputs -= mean * tf.reduce_sum(kernel, [0, 1, 2])
        if self.scaling == "standardized":
            variance = tf.reduce_mean(tf.square(floats), [1, 2, 3], keepdims=True) - mean**2
            outputs *= 255.0 * tf.math.rsqrt(tf.maximum(variance, 1.0))
        return self.activation(tf.nn.bias_add(outputs, self.bias))

    def _convolved(self, floats: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        stride = self.strides[0]
        if floats.shape[1] % stride or floats.shape[2] % stride or self.kernel_size[0] % stride:
            return tf.nn.conv2d(floats, kernel, stride, "VALID")
        blocks = _blocks(floats, stride)
        return tf.nn.conv2d(blocks, _block_kernel(kernel, stride), 1, "VALID")


def _blocks(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """[B, H, W, C] -> [B, H / size, W / size, size * size * C]."""
    _, height, width, channels = pixels.shape
    rows, columns = height // size, width // size
    split = tf.reshape(pixels, [-1, rows, size, columns, size * channels])
    moved = tf.transpose(split, [0, 1, 3, 2, 4])
    return tf.reshape(moved, [-1, rows, columns, size * size * channels])


def _block_kernel(kernel: tf.Tensor, size: int) -> tf.Tensor:
    """The kernel [H, W, C, F] as it meets ``_blocks``."""
    height, width, channels, filters = kernel.shape
    split = tf.reshape(kernel, [height // size, size, width // size, size * channels, filters])
    moved = tf.transpose(split, [0, 2, 1, 3, 4])
    return tf.reshape(moved, [height // size, width // size, size * size * channels, filters])


def build(
    observation_shape: tuple[int, ...],
    num_actions: int,
    network: str,
    seed: int = 0,
    precision: str = "float32",
    picture_scaling: str = "unit",
) -> keras.Model:
    """A model giving (logits [B, A], values [B]) for observations [B, *observation_shape].

    Pictures are bytes, channels-last, and scaled inside (see ``PixelConv2D``); flat observations
    are floats.
    Weights are orthogonal (gain sqrt 2 in the trunk, 0.01 for the policy, 1 for the value),
    biases 0. With the precision "bfloat16" the trunk computes in it, from weights that stay
    float32 (Micikevicius et al. 2018); the heads stay float32. Raises ValueError where the network
    does not fit the observations.
    """
    convolutions, units = NETWORKS[network]
    if (len(observation_shape) == 3) != bool(convolutions):
        raise ValueError(f"the network {network} does not fit observations {observation_shape}")
    seeds = iter(np.random.SeedSequence(seed).generate_state(8).tolist())

    def options(gain: float, activation: str | None = "relu") -> dict:
        initializer = keras.initializers.Orthogonal(gain, seed=next(seeds))
        dtype = "float32" if activation is None else trunk
        return {"kernel_initializer": initializer, "activation": activation, "dtype": dtype}

    trunk = "float32" if precision == "float32" else f"mixed_{precision}"
    pictures = bool(convolutions)
    inputs = keras.Input(observation_shape, dtype="uint8" if pictures else "float32")
    x = inputs
    over_bytes = functools.partial(PixelConv2D, scaling=picture_scaling)
    for i, (filters, kernel, stride) in enumerate(convolutions):
        kind = keras.layers.Conv2D if i else over_bytes
        x = kind(filters, kernel, stride, name=f"conv{i + 1}", **options(TRUNK_GAIN))(x)
    x = keras.layers.Flatten(dtype=trunk)(x) if pictures else x
    for i, size in enumerate(units):
        activation = "relu" if pictures else "tanh"
        x = keras.layers.Dense(size, name=f"dense{i + 1}", **options(TRUNK_GAIN, activation))(x)
    logits = keras.layers.Dense(num_actions, name="policy", **options(POLICY_GAIN, None))(x)
    value = keras.layers.Dense(1, name="value", **options(VALUE_GAIN, None))(x)
    return keras.Model(inputs, (logits, keras.ops.squeeze(value, -1)), name=network)


def of_settings(
    observation_shape: tuple[int, ...], num_actions: int, settings: NetworkSettings, seed: int = 0
) -> keras.Model:
    """The model that the settings ask for; see ``build``."""
    return build(
        observation_shape,
        num_actions,
        settings.network,
        seed,
        settings.precision,
        settings.picture_scaling,
    )


def log_prob(logits: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
    """log pi(a|s) of the softmax policy: logits [B, A], actions [B] integers -> [B]."""
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(labels=actions, logits=logits)


def in_shards(
    model: keras.Model, observations: tf.Tensor, shards: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The model's (logits, values), computed as independent parts of the graph.

    Every operation uses one thread, so that the parts fill the cores, forward and backward.
    """
    size = observations.shape[0]
    cuts = [size * i // shards for i in range(shards + 1)]
    parts = [model(observations[a:b]) for a, b in itertools.pairwise(cuts) if b > a]
    logits, values = zip(*parts, strict=True)
    return tf.concat(logits, 0), tf.concat(values, 0)


Act = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def sampler(model: keras.Model, shards: int = 1) -> Act:
    """A function (observations [n, ...], key) -> (actions, their log-probabilities, values), [n].

    Actions are drawn from the policy with the stateless ``key`` (see ``ppo.keys``). The batch
    is computed in ``shards`` parts at once.
    """

    @tf.function
    def sample(observations: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        logits, values = in_shards(model, observations, shards)
        actions = tf.random.stateless_categorical(logits, 1, key, dtype=tf.int32)[:, 0]
        return actions, log_prob(logits, actions), values

    # Found once a shape: for a small network tf.function's own search takes a fifth of the call.
    @functools.cache
    def found(shape: tuple[int, ...]) -> Callable:
        dtype = model.inputs[0].dtype
        return sample.get_concrete_function(
            tf.TensorSpec(shape, dtype), tf.TensorSpec([2], tf.int32)
        )

    def act(observations: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sampled = found(observations.shape)(tf.constant(observations), tf.constant(key))
        actions, log_probs, values = (tensor.numpy() for tensor in sampled)
        return actions, log_probs, values

    return act


def valuer(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A function observations [n, ...] -> values [n]."""
    values = tf.function(lambda observations: model(observations)[1], reduce_retracing=True)
    return lambda observations: values(tf.constant(observations)).numpy()
