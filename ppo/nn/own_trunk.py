"""A user's own trunk, MODULE:FUNCTION: its initial weights, its names, and what it must be."""

import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from ppo.nn.bfloat16 import rounded
from ppo.nn.layers import VALUE_PREFIX, Layers
from ppo.system.own_modules import import_own
from ppo.system.signals import is_signal

# With this prefix a layer's scalar "step" would be named as the scalar "step_max" of another layer.
MAX_PREFIX = "max_"


def own_trunk(layers: Layers, x: keras.KerasTensor) -> keras.KerasTensor:
    """Build the user's trunk MODULE:FUNCTION. The seed determines its initial weights."""
    module, _, name = layers.settings.network.partition(":")
    try:
        with seeded(0):  # the module may draw too, but only when it is imported first
            function = getattr(import_own(module), name)
        with seeded(next(layers.seeds)):
            features = function(x)
            trunk = keras.Model(x, features)
            _number_again(trunk)
            rounded(trunk)  # fails here rather than in the first policy
            if layers.prefix:
                loaded = trunk.get_weights()
                trunk = keras.models.clone_model(trunk, x, clone_function=layers.renamed)
                trunk.set_weights(loaded)
    except BaseException as error:  # of any kind, since the code is the user's
        if is_signal(error):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        shape = ", ".join(["B", *map(str, x.shape[1:])])
        raise ValueError(
            f"{layers.settings.network} must take observations [{shape}], and failed: {reason}"
        ) from error
    _check_trunk(trunk, layers)
    return trunk.output


def _number_again(trunk: keras.Model) -> None:
    """Number the names that Keras chose from 0. Keras counts on over all networks of a process, so
    a second training would log its layers under other names.
    """
    numbers: Counter[str] = Counter()
    for layer in trunk.operations:
        kind = re.sub(r"_\d+$", "", layer.name)
        if kind.replace("_", "") == type(layer).__name__.replace("_", "").lower():
            layer.name = f"{kind}_{numbers[kind]}" if numbers[kind] else kind
            numbers[kind] += 1


_seeding = threading.RLock()  # the generators belong to the process, not to a thread


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators that a user's initial weights may come from, while the context lasts. An
    initialiser without a seed draws one from Python's random. Other threads wait. Keras offers no
    way to restore its own generator, which remains seeded.
    """
    with _seeding:
        states = random.getstate(), np.random.get_state()
        (before, _) = tf.compat.v1.get_seed(None)
        keras.utils.set_random_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            tf.random.set_seed(before)


def _check_trunk(trunk: keras.Model, layers: Layers) -> None:
    """Raise ValueError for a user's trunk that the rest of the package could not use."""
    network = layers.settings.network
    last = next((layer for layer in reversed(trunk.layers) if layer.trainable_weights), None)
    features = trunk.output  # a list, if the function returned one
    fits = isinstance(features, keras.KerasTensor) and len(features.shape) == 2
    flat = isinstance(last, keras.layers.Dense) and last.use_bias and len(last.output.shape) == 2
    if not (flat and fits):
        raise ValueError(
            f"{network} must give features [B, D], and its last layer with trainable weights must "
            "be a keras.layers.Dense with a bias, whose output is [B, units]"
        )
    for layer in filter(lambda layer: layer.weights, trunk.layers):
        try:  # the output is of the layer's first call; a functional model's is inside it
            keras.Model(trunk.input, layer.output)
        except ValueError as error:
            raise ValueError(
                f"{network} contains {layer.name}, a layer that was called elsewhere or a "
                "functional keras.Model; make its layers anew in the function"
            ) from error
    if other := {weight.dtype for weight in trunk.trainable_weights} - {"float32"}:
        raise ValueError(
            f"{network} has weights in {', '.join(sorted(other))}; they must be float32. To "
            "compute in another precision, use a dtype such as mixed_bfloat16"
        )
    if not layers.prefix and any(layer.name.startswith(VALUE_PREFIX) for layer in trunk.layers):
        raise ValueError(
            f"{network} has a layer whose name begins with {VALUE_PREFIX}, as the layers of a "
            "separate value network do; rename it"
        )
    if any(layer.name.startswith(MAX_PREFIX) for layer in trunk.layers if layer.trainable_weights):
        raise ValueError(
            f"{network} has a layer with weights whose name begins with {MAX_PREFIX}, so "
            f"layers/step_{MAX_PREFIX}LAYER would mean two scalars; rename it"
        )
