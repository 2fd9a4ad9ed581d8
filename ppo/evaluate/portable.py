"""Rebuild a network from Keras's own layers, so it loads where this package is not installed."""

from typing import Any

import keras
from keras import ops

from ppo.nn.bfloat16 import bfloat16_relu
from ppo.nn.layer_norm import EPSILON, LayerNormDense
from ppo.nn.pixels import PixelConv2D, Pixels


def portable(network: keras.Model) -> keras.Model:
    """Return a float32 network of Keras's own layers with the function and the weights of a network
    from ``ppo.model.build``. Its input is named "observations". Its outputs are "logits" [B, A] and
    "value" [B].
    """
    shape, dtype = network.input.shape[1:], network.input.dtype
    inputs = keras.Input(shape, dtype=dtype, name="observations")
    convolutions = {layer.name for layer in network.layers if isinstance(layer, PixelConv2D)}
    pixels_layer = next((layer for layer in network.layers if isinstance(layer, Pixels)), None)
    normalizing = {x.name: x for x in network.layers if isinstance(x, LayerNormDense)}

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        if pixels_layer and layer.name == pixels_layer.name:
            pixels = scaled(inputs[0], pixels_layer.scaling)
            return keras.tree.map_structure(lambda _: pixels, pixels_layer.output)
        if layer.name in convolutions:
            inputs = inputs[0][:1]
        made = layer(*inputs, **options)
        if layer.name in normalizing:
            return _normalized(made, normalizing[layer.name])
        return made

    twin = keras.models.clone_model(network, inputs, _standard, call)
    for layer in network.layers:
        if layer.name in normalizing:
            kernel, bias = layer.get_weights()
            twin.get_layer(layer.name).set_weights([kernel])
            twin.get_layer(_norm_name(layer)).set_weights([bias])
        elif layer.weights:
            twin.get_layer(layer.name).set_weights(layer.get_weights())
    outputs = dict(zip(("logits", "value"), twin.outputs, strict=True))
    return keras.Model(inputs, outputs, name=network.name)


def scaled(pixels: keras.KerasTensor, scaling: str) -> keras.KerasTensor:
    """Return the scaled pixels of bytes [B, H, W, C], see ``ppo.nn.pixels``."""
    axes = [1, 2, 3]
    x = keras.layers.Rescaling(1 / 255)(pixels)
    if scaling != "unit":
        x = x - ops.mean(x, axes, keepdims=True)
    if scaling == "standardized":
        variance = ops.mean(ops.square(x), axes, keepdims=True)
        x = x / ops.sqrt(ops.maximum(variance, 1 / 255**2))
    return x


def _normalized(sums: keras.KerasTensor, layer: LayerNormDense) -> keras.KerasTensor:
    """Apply a layer's normalisation to its sums. The bias is the weight of a separate layer."""
    norm = keras.layers.LayerNormalization(epsilon=EPSILON, scale=False, name=_norm_name(layer))
    name = f"{layer.name}_activation"
    return keras.layers.Activation(_activation(layer), name=name)(norm(sums))


def _norm_name(layer: LayerNormDense) -> str:
    return f"{layer.name}_norm"


def _activation(layer: Any) -> Any:
    """Return Keras's own version of a layer's activation."""
    return "relu" if layer.activation is bfloat16_relu else layer.activation


def _standard(layer: Any) -> Any:
    """Return a Keras layer or operation like the given one, without its weights."""
    if isinstance(layer, Pixels):
        return keras.layers.Identity(name=layer.name)  # ``scaled`` replaces it
    if type(layer) is keras.Sequential:
        return keras.Sequential([_standard(inner) for inner in layer.layers], name=layer.name)
    kind, config = type(layer), layer.get_config()
    if isinstance(layer, PixelConv2D):
        kind = keras.layers.Conv2D
        del config["scaling"], config["block"]
    if isinstance(layer, LayerNormDense):
        kind = keras.layers.Dense  # only its sums, see ``_normalized``
        config |= {"activation": "linear", "use_bias": False}
    elif "activation" in config and hasattr(layer, "activation"):
        config["activation"] = _activation(layer)
    if isinstance(layer, keras.Layer) and layer.compute_dtype in ("bfloat16", "float16"):
        config["dtype"] = "float32"
    return kind.from_config(config)
