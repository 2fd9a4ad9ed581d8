"""The network: it gives the policy's logits and the value, from one trunk or from two."""

import itertools
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ppo.nn import pixels
from ppo.nn.layer_norm import LayerNormDense, layer_normalized
from ppo.nn.pixels import PixelConv2D, Pixels
from ppo.settings import NetworkSettings
from ppo.system.own_modules import import_own
from ppo.system.signals import is_signal
from ppo.system.streams import either

# Name and gain of each head, in the order of the network's outputs.
HEADS = {"policy": 0.01, "value": 1.0}
TRUNK_GAIN = 2**0.5

# Prefix of the layer names of a separate value network.
VALUE_PREFIX = "value_"
# With this prefix a layer's scalar "step" would be named as the scalar "step_max" of another layer.
MAX_PREFIX = "max_"

MOST_LAYERS = 32  # layers with weights in one network; each takes a seed

MIXED = "mixed_bfloat16"  # Keras's name: float32 weights, rounded where they are used
TRUNK_TYPES = {"float32": "float32", "bfloat16": MIXED}


@keras.saving.register_keras_serializable(package="ppo")
def bfloat16_relu(x: tf.Tensor) -> tf.Tensor:
    """Return max(x, 0). Its gradient only passes or blocks values. So it reads the bits of
    bfloat16 as float16, which takes half the time. It is not exact for values of 2^121 and above,
    whose bits are infinite or NaN in float16.
    """

    @tf.custom_gradient
    def relu(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        outputs = tf.nn.relu(x)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            gradients, features = tf.bitcast(upstream, tf.float16), tf.bitcast(outputs, tf.float16)
            masked = tf.raw_ops.ReluGrad(gradients=gradients, features=features)
            return tf.bitcast(masked, tf.bfloat16)

        return outputs, gradient

    return relu(x)


class _Layers:
    """Makes the layers of one network, with numbered names. Initial weights depend on the seed and
    the order of the layers. ``prepared`` is the input of an image network's first convolution.
    """

    def __init__(
        self,
        seed: int | list[int],
        settings: NetworkSettings,
        prefix: str = "",
        prepared: list[keras.KerasTensor] | None = None,
    ):
        self.prepared = prepared
        self.seeds = iter(np.random.SeedSequence(seed).generate_state(MOST_LAYERS).tolist())
        self.dtype = TRUNK_TYPES[settings.precision]
        self.settings, self.prefix = settings, prefix
        self._convolutions, self._dense = itertools.count(1), itertools.count(1)

    def convolution(
        self,
        x: keras.KerasTensor,
        filters: int,
        kernel: int,
        stride: int = 1,
        padding: str = "valid",
        activation: str = "relu",
    ) -> keras.KerasTensor:
        """Add a convolution of ``filters`` x ``network_width`` filters. The first takes bytes."""
        number = next(self._convolutions)
        options = self._trunk_options(activation)
        options |= {"padding": padding, "name": f"{self.prefix}conv{number}"}
        filters *= self.settings.network_width
        if number == 1:
            block = pixels.block_size(x.shape, kernel, stride, padding)
            scaled: dict[str, Any] = {"scaling": self.settings.picture_scaling, "block": block}
            if self.prepared is None:
                self.prepared = Pixels(**scaled, dtype=self.dtype, name="pixels")(x)
            return PixelConv2D(filters, kernel, stride, **scaled, **options)(self.prepared)
        return keras.layers.Conv2D(filters, kernel, stride, **options)(x)

    def relu(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.layers.Activation(self._activation("relu"), dtype=self.dtype)(x)

    def dense(self, x: keras.KerasTensor, units: int, activation: str) -> keras.KerasTensor:
        """Add a dense layer. Flatten feature maps before it."""
        if len(x.shape) == 4:
            x = keras.layers.Flatten(dtype=self.dtype)(x)
        options = self._trunk_options(activation)
        name = f"{self.prefix}dense{next(self._dense)}"
        kind = LayerNormDense if self.settings.layer_norm else keras.layers.Dense
        return kind(units, name=name, **options)(x)

    def head(self, x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
        """Add a linear layer in float32, whatever the trunk's precision."""
        weights = self._weights(HEADS[name])
        return keras.layers.Dense(units, kernel_initializer=weights, dtype="float32", name=name)(x)

    def renamed(self, layer: keras.Operation) -> keras.Operation:
        """Return a layer like the given one, with the prefix before its name."""
        return type(layer).from_config(layer.get_config() | {"name": f"{self.prefix}{layer.name}"})

    def _trunk_options(self, activation: str) -> dict[str, Any]:
        weights = self._weights(TRUNK_GAIN)
        function = self._activation(activation)
        return {"kernel_initializer": weights, "activation": function, "dtype": self.dtype}

    def _activation(self, name: str) -> str | Callable[[tf.Tensor], tf.Tensor]:
        return bfloat16_relu if name == "relu" and self.dtype == MIXED else name

    def _weights(self, gain: float) -> keras.Initializer:
        return keras.initializers.Orthogonal(gain, seed=next(self.seeds))


def _nature(layers: _Layers, x: keras.KerasTensor) -> keras.KerasTensor:
    """Build the trunk of Mnih et al. 2015."""
    for filters, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        x = layers.convolution(x, filters, kernel, stride)
    return layers.dense(x, 512, "relu")


def _a3c(layers: _Layers, x: keras.KerasTensor) -> keras.KerasTensor:
    """Build the trunk of Mnih et al. 2016."""
    for filters, kernel, stride in ((16, 8, 4), (32, 4, 2)):
        x = layers.convolution(x, filters, kernel, stride)
    return layers.dense(x, 256, "relu")


def _impala(layers: _Layers, x: keras.KerasTensor) -> keras.KerasTensor:
    """Build the large trunk of Espeholt et al. 2018 (arXiv:1802.01561), without its LSTM."""
    for filters in (16, 32, 32):
        x = layers.convolution(x, filters, 3, padding="same", activation="linear")
        x = keras.layers.MaxPooling2D(3, 2, "same", dtype=layers.dtype)(x)
        for _ in range(2):
            y = layers.convolution(layers.relu(x), filters, 3, padding="same")
            y = layers.convolution(y, filters, 3, padding="same", activation="linear")
            x = keras.layers.Add(dtype=layers.dtype)([x, y])
    return layers.dense(layers.relu(x), 256, "relu")


def _mlp(layers: _Layers, x: keras.KerasTensor) -> keras.KerasTensor:
    for units in layers.settings.mlp_sizes:
        x = layers.dense(x, units, "tanh")
    return x


Trunk = Callable[[_Layers, keras.KerasTensor], keras.KerasTensor]
IMAGE_TRUNKS: dict[str, Trunk] = {"nature": _nature, "a3c": _a3c, "impala": _impala}
FLAT_TRUNKS: dict[str, Trunk] = {"mlp": _mlp}


def _custom(layers: _Layers, x: keras.KerasTensor) -> keras.KerasTensor:
    """Build the user's trunk MODULE:FUNCTION. The seed determines its initial weights."""
    module, _, name = layers.settings.network.partition(":")
    try:
        with _seeded(0):  # the module may draw too, but only when it is imported first
            function = getattr(import_own(module), name)
        with _seeded(next(layers.seeds)):
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
def _seeded(seed: int) -> Iterator[None]:
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


def _check_trunk(trunk: keras.Model, layers: _Layers) -> None:
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
    if any(name.startswith(MAX_PREFIX) for name in weighted_layers(trunk)):
        raise ValueError(
            f"{network} has a layer with weights whose name begins with {MAX_PREFIX}, so "
            f"layers/step_{MAX_PREFIX}LAYER would mean two scalars; rename it"
        )


def build(
    observation_shape: tuple[int, ...],
    num_actions: int,
    network: str,
    seed: int = 0,
    precision: str = "float32",
    picture_scaling: str = "unit",
    value_gradient: str = "shared",
    **others: Any,
) -> keras.Model:
    """Build a model as ``build_model`` does, from NetworkSettings given one by one."""
    given: dict[str, Any] = {"network": network, "precision": precision, **others}
    given |= {"picture_scaling": picture_scaling, "value_gradient": value_gradient}
    settings = NetworkSettings.model_validate(given, strict=False)  # sizes may be a tuple
    return build_model(observation_shape, num_actions, settings, seed)


def build_model(
    observation_shape: tuple[int, ...], num_actions: int, settings: NetworkSettings, seed: int = 0
) -> keras.Model:
    """Return a model that gives (logits [B, A], values [B]) for observations [B,
    *observation_shape].

    Images are bytes, channels-last, and scaled inside (see ``ppo.nn.pixels``); vector observations
    are floats. Weights are orthogonal, with the gains TRUNK_GAIN and HEADS; biases are 0. With
    ``precision`` "bfloat16" the trunk computes in bfloat16, from float32 weights (Micikevicius et
    al. 2018); the heads stay float32. With ``layer_norm`` the trunk's dense layers are
    ``ppo.nn.layer_norm``'s. ``value_gradient`` is:

      "shared"    the value's gradient enters the trunk
      "detached"  it ends at the value's head
      "separate"  the value has its own trunk
      None        the network's usual choice

    A network MODULE:FUNCTION is a user's trunk: FUNCTION takes the observations, a Keras
    tensor, and returns features, [B, D]. Raises ValueError if the network does not fit the
    observations, or if the precision is "auto".
    """
    if settings.precision not in TRUNK_TYPES:
        raise ValueError(f"precision = {settings.precision!r}: choose {either(list(TRUNK_TYPES))}")
    images, network = len(observation_shape) == 3, settings.network
    trunks = IMAGE_TRUNKS if images else FLAT_TRUNKS
    trunk = _custom if settings.is_custom else trunks.get(network)
    if trunk is None:
        raise ValueError(f"the network {network} does not fit observations {observation_shape}")
    layers = _Layers(seed, settings)
    inputs = keras.Input(observation_shape, dtype="uint8" if images else "float32")
    features = value_features = trunk(layers, inputs)
    value_gradient = settings.value_gradient or settings.usual_value_gradient
    if value_gradient == "detached":
        value_features = keras.ops.stop_gradient(features)
    elif value_gradient == "separate":
        value_layers = _Layers([seed, 1], settings, VALUE_PREFIX, layers.prepared)
        value_features = trunk(value_layers, inputs)
    logits = layers.head(features, num_actions, "policy")
    value = layers.head(value_features, 1, "value")
    name = network.rpartition(":")[2]
    return keras.Model(inputs, (logits, keras.ops.squeeze(value, -1)), name=name)


def weighted_layers(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """Return the trainable weights of each layer that has any, by layer name, trunk first."""
    weights = {layer.name: layer.trainable_weights for layer in model.layers}
    return {name: own for name, own in weights.items() if own}


def policy_trunk(model: keras.Model) -> list[keras.layers.Layer]:
    """List the layers with trainable weights below the policy's head, from the input up."""
    own = [name for name in weighted_layers(model) if not name.startswith(VALUE_PREFIX)]
    return [model.get_layer(name) for name in own if name not in HEADS]


def with_last_inputs(model: keras.Model) -> keras.Model:
    """Return the model with a third output, which ``preactivations`` takes."""
    return keras.Model(model.input, [*model.outputs, policy_trunk(model)[-1].input])


def preactivations(model: keras.Model, last_inputs: tf.Tensor) -> tf.Tensor:
    """Return the policy's last hidden layer before its activation, in float32, [B, D]."""
    layer = policy_trunk(model)[-1]
    sums = tf.matmul(tf.cast(last_inputs, tf.float32), layer.kernel.value)
    if isinstance(layer, LayerNormDense):
        sums = layer_normalized(sums)
    return sums + layer.bias.value


def rounded(network: keras.Model) -> keras.Model:
    """Return a twin of a bfloat16 network, or a float32 network itself. The twin stores its trunk's
    weights in bfloat16, so a call need not round them again. After ``round_weights``
    it gives the same bits.
    """
    mixed = any(map(_is_mixed, network.layers))
    return keras.models.clone_model(network, clone_function=_rounded) if mixed else network


def round_weights(network: keras.Model, twin: keras.Model) -> None:
    """Copy all of the network's present weights into a twin made by ``rounded``."""
    for layer in filter(lambda layer: layer.weights, network.layers):
        for weight, other in zip(layer.weights, twin.get_layer(layer.name).weights, strict=True):
            other.assign(tf.cast(weight.value, other.dtype))


def _is_mixed(layer: keras.Operation) -> bool:
    return isinstance(layer, keras.Layer) and layer.dtype_policy.name == MIXED


def _rounded(layer: keras.Operation) -> keras.Operation:
    config = layer.get_config()
    initial = {key: "zeros" for key in config if key.endswith("_initializer")}
    if _is_mixed(layer) and "kernel_initializer" in initial:
        config |= {"dtype": "bfloat16", **initial}  # bfloat16 has no orthogonal initialiser
    return type(layer).from_config(config)
