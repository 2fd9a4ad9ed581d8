"""Trunks as users write them, for ``"network": "tests.own_network:FUNCTION"``."""

import keras
import numpy as np
import tensorflow as tf


def trunk(observations: keras.KerasTensor) -> keras.KerasTensor:
    """For flat observations."""
    x = keras.layers.Dense(16, activation="relu", name="first")(observations)
    x = x + keras.layers.Dense(16, name="second")(x)
    return keras.layers.Dense(8, activation="tanh", name="last")(x)


def pictures(observations: keras.KerasTensor) -> keras.KerasTensor:
    """For bytes."""
    x = keras.layers.Rescaling(1 / 255)(observations)
    x = keras.layers.Conv2D(4, 8, 8, activation="relu", name="pixels")(x)
    x = keras.layers.MaxPooling2D(2)(x)  # named max_pooling2d
    return keras.layers.Dense(8, activation="relu")(keras.layers.Flatten()(x))


def without_dense(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Not allowed: its last layer is not Dense."""
    return keras.layers.LayerNormalization()(keras.layers.Dense(8)(observations))


def failing(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Raises an error."""
    raise RuntimeError("no memory for this\nand more")


def reserved(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Not allowed: its layer is named as if it were of a separate value network."""
    return keras.layers.Dense(8, name="value_dense1")(observations)


def ambiguous(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Not allowed: a scalar of the second layer would be named as one of the first."""
    x = keras.layers.Dense(8, name="dense")(observations)
    return keras.layers.Dense(8, name="max_dense")(x)


def ending(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Tries to end the process."""
    raise SystemExit(0)


def in_a_list(observations: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Not allowed: a list."""
    return [trunk(observations)]


def half(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Not allowed: weights that Adam would not update in float32."""
    return keras.layers.Dense(8, dtype="float16")(observations)


def in_two(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Not allowed: a model within the model."""
    inputs = keras.Input((4,))
    encoder = keras.Model(inputs, keras.layers.Dense(8)(inputs), name="encoder")
    return keras.layers.Dense(8)(encoder(observations))


USED = keras.layers.Dense(8, name="used")
USED(keras.Input((4,)))


def used_before(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Not allowed: a layer of another model."""
    return keras.layers.Dense(8)(USED(observations))


class Encoder(keras.Model):
    """A model that is not functional."""

    def __init__(self) -> None:
        super().__init__(name="encoder")
        self.dense = keras.layers.Dense(8)

    def call(self, observations: keras.KerasTensor) -> keras.KerasTensor:
        return self.dense(observations)


def subclass(observations: keras.KerasTensor) -> keras.KerasTensor:
    """A model within the model that may be there."""
    return keras.layers.Dense(8, name="last")(Encoder()(observations))


def in_sequence(observations: keras.KerasTensor) -> keras.KerasTensor:
    """In bfloat16, with a Sequential."""
    encoder = keras.Sequential([keras.layers.Dense(16, dtype="mixed_bfloat16") for _ in range(2)])
    return keras.layers.Dense(8, dtype="mixed_bfloat16")(encoder(observations))


def recurrent(observations: keras.KerasTensor) -> keras.KerasTensor:
    """In bfloat16, with an initialiser that bfloat16 does not have."""
    x = keras.layers.LSTM(4, dtype="mixed_bfloat16")(keras.layers.Reshape((4, 1))(observations))
    return keras.layers.Dense(8)(x)


def with_state(observations: keras.KerasTensor) -> keras.KerasTensor:
    """With a layer that has two outputs."""
    x = keras.layers.Reshape((4, 1))(observations)
    _, state = keras.layers.GRU(6, return_sequences=True, return_state=True, name="gru")(x)
    return keras.layers.Dense(8)(state)


def in_sums(observations: keras.KerasTensor) -> keras.KerasTensor:
    """With an operation and a layer that Keras both calls add."""
    x = observations + observations
    return keras.layers.Dense(8)(keras.layers.Add()([x, observations]))


OUTSIDE = keras.layers.Dense(8, name="outside")


def outside(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Not allowed: a second network cannot have this layer."""
    return OUTSIDE(observations)


def per_position(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Not allowed: the last layer has an output for each position."""
    x = keras.layers.Dense(8)(keras.layers.Reshape((4, 1))(observations))
    return keras.layers.GlobalAveragePooling1D()(x)


def truncating(observations: keras.KerasTensor) -> keras.KerasTensor:
    """With whole numbers, and a layer that takes its inputs by name."""
    x = keras.ops.cast(keras.ops.cast(4 * observations, "int32"), "float32")
    x = keras.layers.Reshape((4, 1))(x)
    x = keras.layers.MultiHeadAttention(1, 4)(query=x, value=x)
    return keras.layers.Dense(8)(keras.layers.Flatten()(x))


def nameless(observations: keras.KerasTensor) -> keras.KerasTensor:
    """A layer that trains, but cannot be copied."""
    return keras.layers.Dense(8)(keras.layers.Lambda(lambda x: 2 * x)(observations))


def unseeded(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Initial weights from a generator of its own."""
    return keras.layers.Dense(
        8, kernel_initializer=lambda shape, dtype: np.random.default_rng().normal(size=shape)
    )(observations)


def in_bfloat16(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Not allowed: the model is of its own class, so a policy cannot copy it."""
    return keras.layers.Dense(8, dtype="mixed_bfloat16")(Encoder()(observations))


def frozen_whole(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Not allowed: nothing is trained below the heads."""
    return keras.layers.Dense(8, trainable=False)(observations)


def frozen(observations: keras.KerasTensor) -> keras.KerasTensor:
    """In bfloat16, with weights that are not trained."""
    x = keras.layers.Dense(16, dtype="mixed_bfloat16", trainable=False)(observations)
    x = keras.layers.BatchNormalization(dtype="mixed_bfloat16")(x)
    return keras.layers.Dense(8, dtype="mixed_bfloat16")(x)


def loaded(observations: keras.KerasTensor) -> keras.KerasTensor:
    """With weights from elsewhere."""
    layer = keras.layers.Dense(8, name="loaded")
    features = layer(observations)
    layer.set_weights([np.full((4, 8), 0.5), np.ones(8)])
    return features


def cut(observations: keras.KerasTensor) -> keras.KerasTensor:
    """With weights that no gradient reaches."""
    x = keras.ops.stop_gradient(keras.layers.Dense(8, name="cut")(observations))
    return keras.layers.Dense(8)(x)


def drawn(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Initial weights from the generators of NumPy, TensorFlow and Keras."""

    def initial(shape, dtype):
        drawn = np.random.normal(size=shape).astype(dtype) + tf.random.normal(shape, dtype=dtype)
        return drawn + keras.random.normal(shape, dtype=dtype)

    return keras.layers.Dense(8, kernel_initializer=initial)(observations)


trunks = [trunk]
