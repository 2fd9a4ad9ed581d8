"""The first layers of a network for pictures, against the plain convolution of scaled pixels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ppo.nn import pixels as subject
from ppo.system.device import processor_has_bfloat16

SCALINGS = ["unit", "centered", "standardized"]


def pictures(n: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape)).astype(np.uint8)


def layers(shape, kernel_size, stride, padding, scaling, dtype="float32", **options):
    """Both layers, with their weights made."""
    block = subject.block_size((None, *shape), kernel_size, stride, padding)
    common = {"scaling": scaling, "block": block, "dtype": dtype}
    prepare = subject.Pixels(**common)
    layer = subject.PixelConv2D(5, kernel_size, stride, padding, **common, **options)
    layer(prepare(np.zeros((1, *shape), np.uint8)))
    return prepare, layer


def scaled(pixels, scaling) -> np.ndarray:
    """Each observation by itself, in double precision, as ``ppo.nn.pixels`` describes it."""
    floats = pixels.astype(np.float64)
    if scaling == "unit":
        return floats / 255.0
    centered = np.stack([picture - picture.mean() for picture in floats])
    if scaling == "centered":
        return centered / 255.0
    return np.stack([picture / max(picture.std(), 1.0) for picture in centered])


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding"),
    # 38: no multiple of the stride
    [(84, 8, 4, "valid"), (40, 8, 4, "valid"), (38, 8, 4, "valid"), (20, 3, 1, "same")],
)
def test_convolution_over_bytes_is_the_plain_one_of_scaled_pixels(
    size, kernel_size, stride, padding, scaling
):
    shape = (size, size, 3)
    prepare, layer = layers(
        shape,
        kernel_size,
        stride,
        padding,
        scaling,
        activation="relu",
        kernel_initializer=keras.initializers.GlorotUniform(seed=1),
        bias_initializer=keras.initializers.RandomUniform(seed=2),
    )
    pixels = pictures(2, shape)
    pixels[1] //= 4  # the observations differ in mean and standard deviation
    with tf.GradientTape() as tape:
        outputs = layer(prepare(pixels))
        loss = tf.reduce_sum(tf.sin(outputs))
    gradients = tape.gradient(loss, [layer.kernel.value, layer.bias.value])
    kernel, bias = (tf.Variable(tf.cast(w.value, tf.float64)) for w in (layer.kernel, layer.bias))
    with tf.GradientTape() as tape:
        plain = tf.nn.conv2d(tf.constant(scaled(pixels, scaling)), kernel, stride, padding.upper())
        plain = tf.nn.relu(plain + bias)
        loss = tf.reduce_sum(tf.sin(plain))
    np.testing.assert_allclose(outputs, plain, rtol=1e-5, atol=1e-5)
    for got, expected in zip(gradients, tape.gradient(loss, [kernel, bias]), strict=True):
        # The mean's share is subtracted from a sum: that loses a digit in float32.
        loss_of_digits = 5e-5 * np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=loss_of_digits)


@pytest.mark.parametrize("scaling", ["centered", "standardized"])
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(8, 4, "valid"), (3, 1, "same")])
def test_bfloat16_spends_no_bits_on_brightness(kernel_size, stride, padding, scaling):
    rng = np.random.default_rng(0)
    # Little contrast, one picture dark and one bright: their means are 40 and more times that.
    pixels = (rng.integers(0, 9, (2, 20, 20, 3)) + np.array([40, 200])[:, None, None, None]).astype(
        np.uint8
    )
    prepare, layer = layers(
        pixels.shape[1:], kernel_size, stride, padding, scaling, dtype="mixed_bfloat16"
    )
    kernel = tf.cast(tf.cast(layer.kernel.value, tf.bfloat16), tf.float64)
    layer.kernel.assign(kernel)
    # These gradients do not cancel out.
    slopes = tf.constant(rng.normal(1.0, 1.0, layer(prepare(pixels)).shape))

    def outputs_and_gradient(function, kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            outputs = tf.cast(function(), tf.float64)
            loss = tf.reduce_sum(outputs * slopes)
        return outputs, tf.cast(tape.gradient(loss, kernel), tf.float64)

    def plain():
        floats = tf.constant(scaled(pixels, scaling))
        return tf.nn.conv2d(floats, kernel, stride, padding.upper())

    # Where the processor does not compute in bfloat16, TensorFlow also sums in it: 5 percent off.
    # With the brightness it would be 13 and more. Pictures of few levels have as few rounding
    # errors of f(x), which do not average out in the gradient.
    most = (0.01, 0.02) if processor_has_bfloat16() else (0.1, 0.1)
    got = outputs_and_gradient(lambda: layer(prepare(pixels)), layer.kernel.value)
    for ours, exact, bound in zip(got, outputs_and_gradient(plain, kernel), most, strict=True):
        error = tf.norm(ours - exact) / tf.norm(exact)
        assert error < bound


@pytest.mark.parametrize(
    ("shape", "kernel_size", "stride", "padding", "size"),
    [
        ((None, 84, 84, 4), 8, 4, "valid", 4),
        ((None, 84, 38, 4), 8, 4, "valid", 1),
        ((None, 84, 84, 4), 6, 4, "valid", 1),
        ((None, 84, 84, 4), 8, 4, "same", 1),
        ((None, 84, 84, 4), 3, 1, "valid", 1),
    ],
)
def test_blocks_are_as_large_as_the_stride_where_it_divides_all(
    shape, kernel_size, stride, padding, size
):
    assert subject.block_size(shape, kernel_size, stride, padding) == size


def test_a_block_has_the_pixels_of_one_place_row_by_row():
    picture = pictures(1, (8, 12, 2))
    (blocks,) = subject.Pixels(scaling="unit", block=4)(picture)
    assert blocks.dtype == "uint8" and blocks.shape == (1, 2, 3, 32)
    np.testing.assert_array_equal(blocks[0, 1, 2], picture[0, 4:8, 8:12].reshape(-1))


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_what_is_prepared_is_the_same_for_a_sample_in_any_batch(scaling, dtype):
    prepare = subject.Pixels(scaling=scaling, block=4, dtype=dtype)
    seen = pictures(6, (84, 84, 4)) // np.arange(1, 7, dtype=np.uint8)[:, None, None, None]
    for whole, alone in zip(prepare(seen), prepare(seen[4:5]), strict=True):
        np.testing.assert_array_equal(tf.cast(whole[4:5], "float32"), tf.cast(alone, "float32"))
