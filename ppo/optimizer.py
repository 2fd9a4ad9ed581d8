"""The optimiser: Adam in TensorFlow's fused form."""

import tensorflow as tf

ADAM_BETA_1, ADAM_BETA_2 = 0.9, 0.999


class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), one fused operation per weight.

    w -= learning_rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)

    ``epsilon`` is the paper's "epsilon hat", as in Keras; PyTorch adds its own to the
    bias-corrected root instead.
    """

    def __init__(self, weights: list[tf.Variable], epsilon: float):
        self.weights, self.epsilon = weights, epsilon
        self.first = [tf.Variable(tf.zeros_like(w)) for w in weights]
        self.second = [tf.Variable(tf.zeros_like(w)) for w in weights]
        self.updates = tf.Variable(0, dtype=tf.int64)

    def apply(self, gradients: list[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """Apply one step."""
        count = tf.cast(self.updates.assign_add(1), tf.float32)
        for w, m, v, gradient in zip(self.weights, self.first, self.second, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=w.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=tf.pow(ADAM_BETA_1, count),
                beta2_power=tf.pow(ADAM_BETA_2, count),
                lr=learning_rate,
                beta1=ADAM_BETA_1,
                beta2=ADAM_BETA_2,
                epsilon=self.epsilon,
                grad=gradient,
            )

    def variables(self) -> list[tf.Variable]:
        """Its complete state."""
        return [*self.first, *self.second, self.updates]
