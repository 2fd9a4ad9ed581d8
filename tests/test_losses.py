"""The terms of the objective against published forms and closed forms.

Random cases are array elements in float64. tests/test_surrogates.py has the policy losses.
"""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from ppo import losses
from ppo.nn.shapes import check_vectors
from ppo.surrogates import surrogate, target_policy

CASES = 2000


# Log-probabilities and entropies


def test_log_prob_is_the_log_of_the_softmax():
    logits = np.random.default_rng(1).normal(size=(100, 5))
    actions = np.arange(100) % 5
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.log(probs[np.arange(100), actions])
    np.testing.assert_allclose(losses.log_prob(tf.constant(logits), actions), expected)


def test_pseudo_entropy_and_entropy_at_their_ends():
    for n in (2, 6, 18):
        uniform = tf.zeros([4, n], tf.float64)
        np.testing.assert_allclose(losses.pseudo_entropy(uniform), 1 - 1 / n, rtol=1e-12)
        np.testing.assert_allclose(losses.entropy(uniform), np.log(n), rtol=1e-12)
    certain = tf.constant([[1000.0, 0.0, 0.0]])
    np.testing.assert_allclose(losses.pseudo_entropy(certain), 0)
    np.testing.assert_allclose(losses.entropy(certain), 0)


def test_entropies_are_their_sums(run):
    logits = np.random.default_rng(16).normal(size=(CASES, 5)) * 3
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    pseudo = run(losses.pseudo_entropy)(tf.constant(logits))
    np.testing.assert_allclose(pseudo, 1 - (probs**2).sum(-1), rtol=1e-9)
    entropy = run(losses.entropy)(tf.constant(logits))
    np.testing.assert_allclose(entropy, -(probs * np.log(probs)).sum(-1), rtol=1e-9)


# Value loss and its rescaling


def test_value_loss_is_half_the_square():
    values, old, returns = np.random.default_rng(17).normal(size=(3, CASES))
    loss = losses.value_loss(tf.constant(values), old, returns, None)
    np.testing.assert_allclose(loss, (values - returns) ** 2 / 2)


def test_value_loss_with_a_clip_range_is_the_worse_of_two():
    # old 0, range 1: the value 3 counts as 1. Towards 5: |3 - 5| = 2 < |1 - 5| = 4 -> 16 / 2.
    # Towards 1: |3 - 1| = 2 > |1 - 1| = 0 -> 4 / 2. Inside the range nothing changes.
    values = tf.constant([3.0, 3.0, 0.5])
    returns = tf.constant([5.0, 1.0, 1.0])
    loss = losses.value_loss(values, tf.zeros(3), returns, 1.0)
    assert loss.numpy().tolist() == [8.0, 2.0, 0.125]


def test_value_clip_that_cannot_bind_changes_nothing():
    values, old, returns = np.random.default_rng(18).normal(size=(3, CASES))
    plain = losses.value_loss(tf.constant(values), old, returns, None)
    wide = losses.value_loss(tf.constant(values), tf.constant(old), returns, 1e9)
    np.testing.assert_allclose(plain, wide)


def test_scales():
    pseudo, none = tf.constant([0.2, 0.6]), tf.zeros(2)
    scale, memory = losses.value_rescaling("none", pseudo, none, 0.9)
    assert scale.numpy().tolist() == [1, 1]
    np.testing.assert_array_equal(memory, none)
    np.testing.assert_array_equal(losses.value_rescaling("per_state", pseudo, none, 0.9)[0], pseudo)
    np.testing.assert_allclose(losses.value_rescaling("per_batch", pseudo, none, 0.9)[0], 0.4)
    np.testing.assert_allclose(losses.value_rescaling("smoothed", pseudo, none, 0.9)[0], 0.4)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95])
def test_smoothed_scale_is_the_weighted_mean_of_all_means(decay, run):
    batches = np.random.default_rng(19).random((20, 64))
    rescale = run(lambda h, memory: losses.value_rescaling("smoothed", h, memory, decay))
    memory = tf.zeros(2, tf.float64)
    for last in range(len(batches)):
        scale, memory = rescale(tf.constant(batches[last]), memory)
        weights = decay ** np.arange(last, -1, -1.0)
        expected = (weights * batches[: last + 1].mean(1)).sum() / weights.sum()
        np.testing.assert_allclose(scale, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["per_state", "per_batch", "smoothed"])
def test_no_gradient_flows_through_a_scale(kind):
    logits = tf.constant(np.random.default_rng(20).normal(size=(8, 4)))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        pseudo = losses.pseudo_entropy(logits)
        scale, _ = losses.value_rescaling(kind, pseudo, tf.zeros(2, tf.float64), 0.9)
        total = tf.reduce_sum(scale)
    assert tape.gradient(total, logits) is None


# What is measured


def test_normalized_advantages_have_mean_0_and_deviation_1():
    advantages = losses.normalized(tf.constant(np.random.default_rng(21).normal(3, 7, CASES)))
    assert np.mean(advantages) == pytest.approx(0, abs=1e-12)
    assert np.std(advantages) == pytest.approx(1)


def test_equal_advantages_are_normalized_to_0():
    np.testing.assert_array_equal(losses.normalized(tf.fill([8], 5.0)), np.zeros(8))


def test_the_floor_of_the_deviation_is_added_to_it():
    small = losses.NORMALIZATION_EPSILON
    halved = losses.normalized(tf.constant([-small, small], tf.float64))
    np.testing.assert_allclose(halved, [-0.5, 0.5])


@given(st.floats(0.01, 100), st.integers(0, 2**32 - 1))
def test_floored_advantages_never_exceed_the_normalized_ones(floor, seed):
    advantages = tf.constant(np.random.default_rng(seed).normal(3, 7, 50))
    free = losses.normalized(advantages).numpy()
    for normalized in (losses.normalized, tf.function(losses.normalized, autograph=False)):
        floored = normalized(advantages, floor).numpy()
        np.testing.assert_allclose(floored, free * min(1, np.std(advantages) / floor), rtol=1e-6)


def test_feature_drift_is_the_mean_square_over_the_units(run):
    rng = np.random.default_rng(23)
    new, old = rng.normal(size=(2, 7, 3))
    drift = run(losses.feature_drift)(tf.constant(new), tf.constant(old))
    np.testing.assert_allclose(
        drift, [((a - b) @ (a - b)) / 3 for a, b in zip(new, old, strict=True)]
    )
    with pytest.raises(ValueError, match=r"\[B, D\]"):
        run(losses.feature_drift)(tf.zeros([7]), tf.zeros([7]))
    with pytest.raises(ValueError, match=r"\[B, D\]"):
        run(losses.feature_drift)(tf.zeros([7, 3]), tf.zeros([7, 2]))


def test_approx_kl_is_unbiased_and_never_negative():
    rng = np.random.default_rng(22)
    old, new = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))
    estimates = losses.approx_kl(tf.constant(np.log(new)), tf.constant(np.log(old))).numpy()
    assert (estimates >= 0).all()
    assert (old * estimates).sum() == pytest.approx((old * np.log(old / new)).sum())


def test_clip_fraction_counts_either_side():
    log_ratios = np.log([0.7, 0.85, 1.0, 1.15, 1.3])
    marks = losses.clip_fraction(tf.exp(tf.constant(log_ratios)), 0.2)
    assert marks.numpy().tolist() == [1, 0, 0, 0, 1]


def test_a_ratio_that_has_not_moved_is_within_a_clip_range_of_0():
    assert not losses.clip_fraction(tf.ones(3), 0.0).numpy().any()


# Shapes: [B, 1] and [B] would broadcast to [B, B]

OF_VECTORS = {
    "normalized": (losses.normalized, 1),
    "target_policy": (lambda p, a: target_policy(p, a, 0.2, "logit"), 2),
    "surrogate": (lambda new, old, a: surrogate(new, old, a, 0.2), 3),
    "clipped_surrogate": (lambda ratios, a: losses.clipped_surrogate(ratios, a, 0.2), 2),
    "value_loss": (lambda values, old, returns: losses.value_loss(values, old, returns, 0.2), 3),
    "value_rescaling": (lambda h: losses.value_rescaling("per_batch", h, tf.zeros(2), 0.9)[0], 1),
}
ARGUMENTS = [(name, place) for name, (_, count) in OF_VECTORS.items() for place in range(count)]


@pytest.mark.parametrize(("name", "column"), ARGUMENTS)
def test_a_column_beside_rows_is_refused(name, column, run):
    function, count = OF_VECTORS[name]
    tensors = [tf.fill([3, 1] if place == column else [3], 0.5) for place in range(count)]
    with pytest.raises(ValueError, match=r"\[B"):
        run(function)(*tensors)


@pytest.mark.parametrize(("name", "column"), ARGUMENTS)
def test_a_column_is_refused_while_a_graph_is_traced(name, column):
    """From specifications alone, whose number of samples is unknown."""
    function, count = OF_VECTORS[name]
    shapes = [[None, 1] if place == column else [None] for place in range(count)]
    with pytest.raises(ValueError, match=r"\[B"):
        tf.function(function, autograph=False).get_concrete_function(*map(tf.TensorSpec, shapes))


@pytest.mark.parametrize("name", OF_VECTORS)
def test_vectors_of_unknown_length_are_traced(name):
    function, count = OF_VECTORS[name]
    graph = tf.function(function, autograph=False).get_concrete_function(
        *[tf.TensorSpec([None])] * count
    )
    assert graph(*[tf.fill([3], 0.5)] * count).shape == [3]


def test_vectors_have_one_length_and_one_axis():
    check_vectors(tf.zeros(3), np.zeros(3), [0.0, 0.0, 0.0])
    for other in (tf.zeros(2), tf.zeros(1), tf.zeros([3, 1]), tf.zeros([1, 3]), tf.zeros([])):
        with pytest.raises(ValueError, match=r"\[B"):
            check_vectors(tf.zeros(3), other)
    with pytest.raises(ValueError, match=r"\[B"):
        check_vectors(tf.zeros([3, 1]), tf.zeros([3, 1]))
