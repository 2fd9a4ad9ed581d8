"""The optimiser: Adam in TensorFlow's fused form, and how a step is undone."""

from collections.abc import Sequence

import tensorflow as tf


class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), one fused operation per weight.

    w -= learning_rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)

    ``epsilon`` is the paper's "epsilon hat", as in Keras. PyTorch adds its epsilon to the root of
    the bias-corrected v.
    """

    def __init__(
        self, weights: list[tf.Variable], epsilon: float, beta_1: float = 0.9, beta_2: float = 0.999
    ):
        self.weights, self.epsilon = weights, epsilon
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.first = [tf.Variable(tf.zeros_like(w)) for w in weights]
        self.second = [tf.Variable(tf.zeros_like(w)) for w in weights]
        self.count = tf.Variable(0, dtype=tf.int64)

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        count = tf.cast(self.count.assign_add(1), tf.float32)
        for w, m, v, gradient in zip(self.weights, self.first, self.second, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=w.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=tf.pow(self.beta_1, count),
                beta2_power=tf.pow(self.beta_2, count),
                lr=learning_rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )

    def reset(self) -> None:
        """Reset the moments and the step count to 0, which restarts the bias correction."""
        for variable in self.variables():
            variable.assign(tf.zeros_like(variable))

    def variables(self) -> list[tf.Variable]:
        """The optimiser's complete state."""
        return [*self.first, *self.second, self.count]


class Undo:
    """A copy of the variables that a step changes."""

    def __init__(self, variables: Sequence[tf.Variable]):
        self._pairs = [(variable, tf.Variable(variable)) for variable in variables]

    def keep(self) -> None:
        for variable, copy in self._pairs:
            copy.assign(variable)

    def restore(self) -> tf.Operation:
        for variable, copy in self._pairs:
            variable.assign(copy)
        return tf.no_op()  # a branch of a condition in a graph must return an operation
