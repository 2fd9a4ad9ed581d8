"""The first layers of an image network: preprocessing of the bytes, and the first convolution.

The convolution is of f(x), where x are the bytes of one observation and f is the scaling:

  "unit"          f(x) = x / 255
  "centered"      f(x) = (x - mean(x)) / 255
  "standardized"  f(x) = (x - mean(x)) / max(std(x), 1)

Padding counts as f(x) = 0, not as x = 0. For one image each scaling is affine, so the bytes
themselves can be convolved. The factor is then applied to the kernel or to the outputs, and the
mean's share is subtracted from the outputs.

In bfloat16 a mean cannot be subtracted from the outputs. A bfloat16 number has 8 significant bits.
The image's brightness would take most of them, in the outputs and in the kernel's gradient. In this
case f(x) is computed in float32 and then rounded.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

LEVEL = 1.0 / 255.0

Shape = tuple[int | None, ...]


def block_size(shape: Shape, kernel: int, stride: int, padding: str) -> int:
    """Return the side of the blocks of pixels (space to depth) that turn a convolution of images
    [_, H, W, C] with a stride into an equal, faster convolution with stride 1. Return 1 (no blocks)
    if the images are padded, or if the stride does not divide H, W and the kernel's side.
    """
    divides = not any(side is None or side % stride for side in (*shape[1:3], kernel))
    return stride if padding == "valid" and divides else 1


class _Scaled(keras.layers.Layer):
    """A layer with a scaling and a block side."""

    def __init__(self, *arguments: Any, scaling: str, block: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.scaling, self.block = scaling, block

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"scaling": self.scaling, "block": self.block}

    @property
    def convolves_x(self) -> bool:
        """Whether x (whole numbers) is convolved, not f(x)."""
        return self.scaling == "unit" or self.compute_dtype == "float32"


@keras.saving.register_keras_serializable(package="ppo")
class Pixels(_Scaled):
    """Prepare bytes [B, H, W, C] for ``PixelConv2D``, in all steps that need no weights. Return a
    list:

      the pixels, [B, H / block, W / block, block * block * C]: x, or f(x) in bfloat16;
      the mean of x, [B, 1, 1, 1], if it is to be subtracted;
      the factor 255 / max(std(x), 1), [B, 1, 1, 1], if it is to be applied. Its 255
      cancels the kernel's 1 / 255.

    x is bytes. If it is convolved in bfloat16, it is converted here, once for all epochs:
    converting in every epoch takes longer than reading twice as many bytes.
    """

    def call(self, x: tf.Tensor) -> list[tf.Tensor]:
        if self.scaling == "unit":
            pixels = "uint8" if self.compute_dtype == "float32" else self.compute_dtype
            return [tf.cast(_blocks(x, self.block), pixels)]
        floats = tf.cast(x, tf.float32)
        mean = tf.reduce_mean(floats, [1, 2, 3], keepdims=True)
        scaling = [mean]
        if self.scaling == "standardized":
            variance = tf.reduce_mean(tf.square(floats), [1, 2, 3], keepdims=True) - mean**2
            scaling.append(255.0 * tf.math.rsqrt(tf.maximum(variance, 1.0)))
        if self.convolves_x:
            return [_blocks(x, self.block), *scaling]
        factor = LEVEL * scaling[1] if scaling[1:] else LEVEL
        return [_blocks(tf.cast((floats - mean) * factor, tf.bfloat16), self.block)]


@keras.saving.register_keras_serializable(package="ppo")
class PixelConv2D(_Scaled, keras.layers.Conv2D):
    """A convolution over the output of ``Pixels`` with the same scaling and block."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.input_spec = None  # Keras's does not allow the list that Pixels returns

    def build(self, input_shape: Sequence[Shape]) -> None:
        super().build(self._image_shape(input_shape))
        self.input_spec = None

    def compute_output_spec(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        shape = self.compute_output_shape(self._image_shape([tensor.shape for tensor in inputs]))
        return keras.KerasTensor(shape, self.compute_dtype)

    def _image_shape(self, input_shape: Sequence[Shape]) -> Shape:
        """Return the shape of the images without blocks."""
        batch, rows, columns, channels = input_shape[0]
        assert rows and columns and channels
        return batch, rows * self.block, columns * self.block, channels // self.block**2

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        pixels, *scaling = inputs
        kernel = self.kernel * LEVEL if self.convolves_x else tf.convert_to_tensor(self.kernel)
        pixels = tf.cast(pixels, kernel.dtype)
        if self.block == 1:
            outputs = tf.nn.conv2d(pixels, kernel, self.strides[0], self.padding.upper())
        else:
            outputs = tf.nn.conv2d(pixels, _block_kernel(kernel, self.block), 1, "VALID")
        if scaling and self.padding == "valid":
            outputs -= scaling[0] * tf.reduce_sum(kernel, [0, 1, 2])
        elif scaling:  # the share depends on how much of the kernel lies on the image
            ones = tf.ones_like(pixels[:1])
            outputs -= scaling[0] * tf.nn.conv2d(ones, kernel, self.strides[0], "SAME")
        if scaling[1:]:
            outputs *= scaling[1]
        return self.activation(tf.nn.bias_add(outputs, self.bias))


def _blocks(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Rearrange [B, H, W, C] -> [B, H / size, W / size, size * size * C]."""
    if size == 1:
        return pixels
    _, height, width, channels = pixels.shape
    rows, columns = height // size, width // size
    split = tf.reshape(pixels, [-1, rows, size, columns, size * channels])
    moved = tf.transpose(split, [0, 1, 3, 2, 4])
    return tf.reshape(moved, [-1, rows, columns, size * size * channels])


def _block_kernel(kernel: tf.Tensor, size: int) -> tf.Tensor:
    """Rearrange the kernel [H, W, C, F] to match ``_blocks``."""
    height, width, channels, filters = kernel.shape
    split = tf.reshape(kernel, [height // size, size, width // size, size * channels, filters])
    moved = tf.transpose(split, [0, 2, 1, 3, 4])
    return tf.reshape(moved, [height // size, width // size, size * size * channels, filters])
