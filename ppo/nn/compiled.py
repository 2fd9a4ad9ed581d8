"""Compiling functions of tensors."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def compiled(function: Callable, **options: Any) -> Callable:
    """Return a function as a graph. Every run of a process compiles the same functions for itself,
    which TensorFlow would report as retracing.
    """
    # Autograph would add three seconds to every start.
    graph = tf.function(function, autograph=False, **options)
    graph._omit_frequent_tracing_warning = True
    return graph
