"""The network: it gives the policy's logits and the value, from one trunk or from two."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ppo.nn.layer_norm import LayerNormDense, layer_normalized
from ppo.nn.layers import HEADS, TRUNK_TYPES, VALUE_PREFIX, Layers
from ppo.nn.own_trunk import own_trunk
from ppo.settings.fields import NetworkSettings
from ppo.system.streams import either


def _nature(layers: Layers, x: keras.KerasTensor) -> keras.KerasTensor:
    """Build the trunk of Mnih et al. 2015."""
    for filters, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        x = layers.convolution(x, filters, kernel, stride)
    return layers.dense(x, 512, "relu")


def _a3c(layers: Layers, x: keras.KerasTensor) -> keras.KerasTensor:
    """Build the trunk of Mnih et al. 2016."""
    for filters, kernel, stride in ((16, 8, 4), (32, 4, 2)):
        x = layers.convolution(x, filters, kernel, stride)
    return layers.dense(x, 256, "relu")


def _impala(layers: Layers, x: keras.KerasTensor) -> keras.KerasTensor:
    """Build the large trunk of Espeholt et al. 2018 (arXiv:1802.01561), without its LSTM."""
    for filters in (16, 32, 32):
        x = layers.convolution(x, filters, 3, padding="same", activation="linear")
        x = keras.layers.MaxPooling2D(3, 2, "same", dtype=layers.dtype)(x)
        for _ in range(2):
            y = layers.convolution(layers.relu(x), filters, 3, padding="same")
            y = layers.convolution(y, filters, 3, padding="same", activation="linear")
            x = keras.layers.Add(dtype=layers.dtype)([x, y])
    return layers.dense(layers.relu(x), 256, "relu")


def _mlp(layers: Layers, x: keras.KerasTensor) -> keras.KerasTensor:
    for units in layers.settings.mlp_sizes:
        x = layers.dense(x, units, "tanh")
    return x


Trunk = Callable[[Layers, keras.KerasTensor], keras.KerasTensor]
IMAGE_TRUNKS: dict[str, Trunk] = {"nature": _nature, "a3c": _a3c, "impala": _impala}
FLAT_TRUNKS: dict[str, Trunk] = {"mlp": _mlp}


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
    trunk = own_trunk if settings.is_custom else trunks.get(network)
    if trunk is None:
        raise ValueError(f"the network {network} does not fit observations {observation_shape}")
    layers = Layers(seed, settings)
    inputs = keras.Input(observation_shape, dtype="uint8" if images else "float32")
    features = value_features = trunk(layers, inputs)
    value_gradient = settings.value_gradient or settings.usual_value_gradient
    if value_gradient == "detached":
        value_features = keras.ops.stop_gradient(features)
    elif value_gradient == "separate":
        value_layers = Layers([seed, 1], settings, VALUE_PREFIX, layers.prepared)
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
