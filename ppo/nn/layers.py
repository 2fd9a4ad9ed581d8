"""The layers of a network, with their names, initial weights and precision."""

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ppo.nn import pixels
from ppo.nn.bfloat16 import MIXED, bfloat16_relu
from ppo.nn.layer_norm import LayerNormDense
from ppo.nn.pixels import PixelConv2D, Pixels
from ppo.settings.fields import NetworkSettings

# Name and gain of each head, in the order of the network's outputs.
HEADS = {"policy": 0.01, "value": 1.0}
TRUNK_GAIN = 2**0.5

VALUE_PREFIX = "value_"  # of the layer names of a separate value network
MOST_LAYERS = 32  # layers with weights in one network; each takes a seed
TRUNK_TYPES = {"float32": "float32", "bfloat16": MIXED}


class Layers:
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
