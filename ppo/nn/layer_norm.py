"""A dense layer whose sums are normalised before the bias and the activation."""

import keras
import tensorflow as tf

EPSILON = 1e-5  # added to the variance


@keras.saving.register_keras_serializable(package="ppo")
class LayerNormDense(keras.layers.Dense):
    """activation(n(x W) + b), where n gives each sample's sums the mean 0 and the variance 1: layer
    normalisation (Ba et al. 2016, arXiv:1607.06450) without its gains, with moments in float32.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        sums = tf.matmul(x, tf.convert_to_tensor(self.kernel))
        # The bias is added in float32, because its gradient is summed in the type of this addition.
        outputs = layer_normalized(sums) + tf.cast(self.bias, tf.float32)
        return self.activation(tf.cast(outputs, x.dtype))


def layer_normalized(sums: tf.Tensor) -> tf.Tensor:
    """Return n(sums) in float32, [B, units]."""
    sums = tf.cast(sums, tf.float32)
    mean, variance = tf.nn.moments(sums, [-1], keepdims=True)
    return (sums - mean) * tf.math.rsqrt(variance + EPSILON)
