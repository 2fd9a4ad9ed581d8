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


def drawn(observations: keras.KerasTensor) -> keras.KerasTensor:
    """Initial weights from the generators of NumPy and TensorFlow."""

    def initial(shape, dtype):
        return np.random.normal(size=shape).astype(dtype) + tf.random.normal(shape, dtype=dtype)

    return keras.layers.Dense(8, kernel_initializer=initial)(observations)


trunks = [trunk]
