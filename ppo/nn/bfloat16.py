"""What makes a network in bfloat16 fast: weights that are rounded once, and a cheap ReLU."""

from collections.abc import Callable

import keras
import tensorflow as tf

MIXED = "mixed_bfloat16"  # Keras's name: float32 weights, rounded where they are used


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
