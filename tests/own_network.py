"""Trunks as users write them, for ``"network": "tests.own_network:FUNCTION"``."""

import keras


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


trunks = [trunk]
