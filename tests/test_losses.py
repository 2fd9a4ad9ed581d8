"""The terms of the objective against published forms, closed forms and finite differences.

Random cases are array elements in float64; kinks, where there is no derivative, are left out.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from ppo import losses

CASES = 2000
FORMS = {
    "peaked": {"beyond_target_slope": 1.0},
    "rollback": {"beyond_target_slope": 0.3},
    "steep": {"beyond_target_slope": 2.5},
    **{name: {"name": name} for name in losses.SURROGATES},
}
KINDS = ("probability", "logit")


@pytest.fixture(params=["eager", "compiled"])
def run(request):
    """Calls a function as it is, or as one graph."""
    return (
        (lambda f: f)
        if request.param == "eager"
        else functools.partial(tf.function, autograph=False)
    )


def cases(seed: int, low: float = 0.001, high: float = 0.999):
    """log pi, log pi_old, A, all [CASES] in float64, with ratios far inside and outside."""
    rng = np.random.default_rng(seed)
    old = rng.uniform(low, high, CASES)
    new = np.clip(old * np.exp(rng.normal(0, 0.4, CASES)), 1e-6, 1 - 1e-9)
    return np.log(new), np.log(old), rng.normal(size=CASES)


def far_from_kink(new, old, advantages, clip_range, kind):
    target = losses.target_policy(np.exp(old), advantages, clip_range, kind).numpy()
    return np.abs(np.exp(new) - target) / np.exp(old) > 1e-4


def loss_of(log_probs, old, advantages, clip_range, kind, **form):
    return losses.policy_loss(
        log_probs, old, advantages, clip_range, delta_target_policy=kind, **form
    )[0]


def value_and_slope(new, old, advantages, clip_range, kind, **form):
    """The loss and its derivative by r, from d/d log pi = r d/dr."""
    log_probs = tf.constant(new)
    with tf.GradientTape() as tape:
        tape.watch(log_probs)
        loss = loss_of(log_probs, old, advantages, clip_range, kind, **form)
    return loss.numpy(), tape.gradient(loss, log_probs).numpy() / np.exp(new - old)


# The target


@pytest.mark.parametrize("clip_range", [0.05, 0.2, 0.7])
def test_logit_target_is_symmetric(clip_range):
    _, old, advantages = cases(0)
    p = np.exp(old)
    there = losses.target_policy(p, advantages, clip_range, "logit").numpy()
    mirrored = losses.target_policy(1 - p, -advantages, clip_range, "logit").numpy()
    np.testing.assert_allclose(there, 1 - mirrored, rtol=1e-9)


@pytest.mark.parametrize("clip_range", [0.05, 0.2, 0.7])
def test_logit_target_is_a_fixed_distance_away_in_logits(clip_range):
    _, old, advantages = cases(1)
    p = np.exp(old)
    logit = np.log(p / (1 - p)) + 2 * np.arctanh(clip_range * np.sign(advantages))
    target = losses.target_policy(p, advantages, clip_range, "logit").numpy()
    np.testing.assert_allclose(target, 1 / (1 + np.exp(-logit)), rtol=1e-9)


def test_both_targets_are_equal_at_one_half():
    _, _, advantages = cases(2)
    half = np.full(CASES, 0.5)
    probability, logit = (losses.target_policy(half, advantages, 0.3, kind) for kind in KINDS)
    np.testing.assert_allclose(probability, logit, rtol=1e-12)


def test_logit_offset_relative_to_the_probability_offset():
    _, old, advantages = cases(3)
    p, s, eps = np.exp(old), np.sign(advantages), 0.2
    steps = [losses.target_policy(p, advantages, eps, kind).numpy() - p for kind in KINDS]
    expected = 2 * (1 - p) / (1 + eps * s * (2 * p - 1))
    np.testing.assert_allclose(steps[1] / steps[0], expected, rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_target_and_its_change_agree(kind):
    _, old, advantages = cases(4)
    change = losses.target_change(tf.constant(old), advantages, 0.2, kind).numpy()
    target = losses.target_policy(np.exp(old), advantages, 0.2, kind).numpy()
    np.testing.assert_allclose(1 + change, target / np.exp(old), rtol=1e-12)


advantages_of_normal_size = st.floats(-9, 9, allow_subnormal=False)


@given(
    st.floats(0.001, 0.999),
    st.floats(0.01, 0.99),
    advantages_of_normal_size,
    st.sampled_from(KINDS),
)
def test_target_lies_on_the_side_of_the_advantage(old, clip_range, advantage, kind):
    p, advantages = (tf.constant([x], tf.float64) for x in (old, advantage))
    target = float(losses.target_policy(p, advantages, clip_range, kind)[0])
    assert (target > old) == (advantage > 0) and (target < old) == (advantage < 0)
    assert kind == "probability" or 0 < target < 1


def test_target_change_is_the_clip_range_by_default():
    _, old, advantages = cases(23)
    change = losses.target_change(tf.constant(old), advantages, 0.2)
    np.testing.assert_allclose(change, 0.2 * np.sign(advantages), rtol=1e-12)


# The surrogate


def test_clipped_form_is_the_textbook_loss(run):
    new, old, advantages = cases(5)
    ratio = np.exp(new - old)
    textbook = -np.minimum(advantages * ratio, advantages * np.clip(ratio, 0.8, 1.2))
    loss = run(losses.surrogate)(tf.constant(new), tf.constant(old), tf.constant(advantages), 0.2)
    np.testing.assert_allclose(loss, textbook, rtol=1e-6, atol=1e-12)


def test_gradient_of_the_clipped_form_is_the_textbook_gradient():
    new, old, advantages = cases(6)
    ratio = np.exp(new - old)
    clipped = np.where(advantages > 0, ratio > 1.2, ratio < 0.8)
    keep = far_from_kink(new, old, advantages, 0.2, "probability")
    _, slope = value_and_slope(new, old, advantages, 0.2, "probability")
    expected = np.where(clipped, 0, -advantages)
    np.testing.assert_allclose(slope[keep], expected[keep], rtol=1e-6)
    assert 100 < clipped.sum() < CASES - 100


def test_the_general_form_without_a_slope_is_the_clipped_surrogate():
    new, old, advantages = cases(7)
    results = []
    for general in (True, False):
        log_probs = tf.constant(new)
        with tf.GradientTape() as tape:
            tape.watch(log_probs)
            if general:
                change = losses.target_change(tf.constant(old), advantages, 0.2)
                row = losses.SURROGATES["clipped"]
                loss = row.loss(tf.math.expm1(log_probs - old), advantages, change, 0.0)
            else:
                loss = losses.clipped_surrogate(log_probs, old, tf.constant(advantages), 0.2)
        results.append((loss.numpy(), tape.gradient(loss, log_probs).numpy()))
    (loss, slope), (textbook_loss, textbook_slope) = results
    keep = far_from_kink(new, old, advantages, 0.2, "probability")
    np.testing.assert_allclose(loss, textbook_loss, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(slope[keep], textbook_slope[keep])
    assert 100 < (slope == 0).sum() < CASES - 100


@pytest.mark.parametrize("slope", [0.02, 0.3, 1.0])
def test_rollback_is_its_published_form(slope):
    """Wang, He and Tan 2020, eq. 7: -a r + (1 + a)(1 +- eps) beyond the range; maximised."""
    new, old, advantages = cases(7)
    r, eps = np.exp(new - old), 0.2
    rolled = np.where(
        r >= 1 + eps,
        -slope * r + (1 + slope) * (1 + eps),
        np.where(r <= 1 - eps, -slope * r + (1 + slope) * (1 - eps), r),
    )
    published = np.minimum(r * advantages, rolled * advantages)
    loss = losses.surrogate(new, old, advantages, eps, beyond_target_slope=slope).numpy()
    np.testing.assert_allclose(loss, -published, rtol=1e-6, atol=1e-12)


def test_quadratic_is_simple_policy_optimization():
    """Xie et al. 2025: maximise r A - |A| (r - 1)^2 / (2 eps)."""
    new, old, advantages = cases(8)
    r, eps = np.exp(new - old), 0.2
    published = r * advantages - np.abs(advantages) / (2 * eps) * (r - 1) ** 2
    loss = losses.surrogate(new, old, advantages, eps, quadratic=True).numpy()
    np.testing.assert_allclose(loss, -published, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_gradient_equals_finite_differences(form, kind, run):
    new, old, advantages = cases(9)
    keep = far_from_kink(new, old, advantages, 0.2, kind)
    loss = run(
        lambda log_probs: loss_of(
            log_probs, tf.constant(old), tf.constant(advantages), 0.2, kind, **FORMS[form]
        )
    )
    h = 1e-6
    log_probs = tf.constant(new)
    with tf.GradientTape() as tape:
        tape.watch(log_probs)
        total = loss(log_probs)
    gradient = tape.gradient(total, log_probs).numpy()
    differences = (loss(tf.constant(new + h)) - loss(tf.constant(new - h))).numpy() / (2 * h)
    np.testing.assert_allclose(gradient[keep], differences[keep], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_value_and_slope_are_minus_the_advantage_at_the_old_policy(form, kind):
    _, old, advantages = cases(10)
    loss, slope = value_and_slope(old, old, advantages, 0.2, kind, **FORMS[form])
    np.testing.assert_allclose(loss, -advantages, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slope, -advantages, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", losses.SURROGATES)
def test_every_row_of_the_table_is_minus_the_advantage_at_the_old_policy(form, kind):
    _, old, advantages = cases(28)
    log_probs = tf.constant(old)
    with tf.GradientTape() as tape:
        tape.watch(log_probs)
        loss, change = losses.policy_loss(log_probs, old, advantages, 0.2, form, kind)
    np.testing.assert_allclose(loss, -advantages, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(tape.gradient(loss, log_probs), -advantages, rtol=1e-9)
    np.testing.assert_array_equal(np.sign(change), np.sign(advantages))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["clipped", "peaked", "rollback"])
def test_a_clip_range_of_0_leaves_the_first_step_to_the_policy_gradient(form, kind):
    _, old, advantages = cases(24)
    _, slope = value_and_slope(old, old, advantages, 0.0, kind, **FORMS[form])
    np.testing.assert_allclose(slope, -advantages, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slope", [0.3, 1.0])
def test_what_lies_beyond_costs_the_slope_times_the_distance(slope, kind):
    new, old, advantages = cases(25)
    clipped, bent = (
        losses.surrogate(tf.constant(new), old, advantages, 0.2, kind, beyond_target_slope=a)
        for a in (0.0, slope)
    )
    target = losses.target_policy(np.exp(old), advantages, 0.2, kind).numpy()
    past = np.maximum(0, (np.exp(new) - target) / np.exp(old) * np.sign(advantages))
    np.testing.assert_allclose(bent - clipped, slope * np.abs(advantages) * past, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("form", "pull"), [("clipped", 0.0), ("peaked", 1.0), ("rollback", 0.3)])
def test_beyond_the_target_clipped_is_flat_and_the_others_pull_back(form, pull, kind):
    _, old, advantages = cases(11, high=0.6)
    target = losses.target_policy(np.exp(old), advantages, 0.2, kind).numpy()
    beyond = np.log(target * (1 + 0.1 * np.sign(advantages)))
    _, slope = value_and_slope(beyond, old, advantages, 0.2, kind, **FORMS[form])
    np.testing.assert_allclose(slope, pull * advantages, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_quadratic_is_lowest_at_the_target_and_pulls_back_from_beyond(kind):
    _, old, advantages = cases(12, high=0.6)
    target = losses.target_policy(np.exp(old), advantages, 0.2, kind).numpy()
    _, at = value_and_slope(np.log(target), old, advantages, 0.2, kind, name="quadratic")
    np.testing.assert_allclose(at, 0, atol=1e-9)
    beyond = np.log(target * (1 + 0.1 * np.sign(advantages)))
    _, slope = value_and_slope(beyond, old, advantages, 0.2, kind, name="quadratic")
    assert (slope * np.sign(advantages) > 0).all()


def test_quadratic_keeps_its_target_off_the_old_policy():
    """With the logit target t - 1 fades like 2 eps (1 - pi_old); the floor bounds the curvature."""
    old = np.log(1 - np.logspace(-8, -4, CASES))
    advantages = np.ones(CASES)
    new = old - 1e-3
    _, slope = value_and_slope(new, old, advantages, 0.2, "logit", name="quadratic")
    moved = np.expm1(new - old)
    expected = -1 + moved / losses.QUADRATIC_TARGET_FLOOR
    np.testing.assert_allclose(slope, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_finite_next_to_0_and_1_in_single_precision(form, kind):
    rare = np.logspace(-8, -1, CASES // 2)
    old = np.concatenate([np.log(rare), np.log1p(-rare)]).astype(np.float32)
    advantages = np.random.default_rng(13).normal(size=CASES).astype(np.float32)
    for shift in (-2.0, -1e-3, 0.0, 1e-3, 2.0):
        new = np.minimum(old + np.float32(shift), np.float32(0))
        loss, slope = value_and_slope(new, old, advantages, 0.2, kind, **FORMS[form])
        assert loss.dtype == np.float32
        assert np.isfinite(loss).all()
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_no_advantage_no_loss(form, kind):
    new, old, _ = cases(14)
    loss, slope = value_and_slope(new, old, np.zeros(CASES), 0.2, kind, **FORMS[form])
    assert not loss.any()
    assert not slope.any()


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_target_marks_where_the_clipped_loss_is_flat(kind):
    new, old, advantages = cases(15)
    change = losses.target_change(tf.constant(old), advantages, 0.2, kind)
    beyond = losses.beyond_target(new, old, advantages, change).numpy().astype(bool)
    _, slope = value_and_slope(new, old, advantages, 0.2, kind)
    np.testing.assert_array_equal(beyond, slope == 0)
    assert 50 < beyond.sum() < CASES - 50


def test_nothing_without_an_advantage_is_beyond_a_target():
    new, old, _ = cases(26)
    change = losses.target_change(tf.constant(old), np.zeros(CASES), 0.2)
    assert not losses.beyond_target(new, old, np.zeros(CASES), change).numpy().any()


def test_a_ratio_at_its_target_is_not_beyond_it():
    _, old, advantages = cases(27)
    change = losses.target_change(tf.constant(old), advantages, 0.0)
    assert not losses.beyond_target(old, old, advantages, change).numpy().any()


# Entropies


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
    old = np.linspace(-3, -1, 5)
    marks = losses.clip_fraction(tf.constant(old + log_ratios), old, 0.2)
    assert marks.numpy().tolist() == [1, 0, 0, 0, 1]


def test_a_ratio_that_has_not_moved_is_within_a_clip_range_of_0():
    assert not losses.clip_fraction(tf.zeros(3), np.zeros(3), 0.0).numpy().any()


# Shapes: [B, 1] and [B] would broadcast to [B, B]

OF_VECTORS = {
    "normalized": (losses.normalized, 1),
    "target_policy": (lambda p, a: losses.target_policy(p, a, 0.2, "logit"), 2),
    "surrogate": (lambda new, old, a: losses.surrogate(new, old, a, 0.2), 3),
    "clipped_surrogate": (lambda new, old, a: losses.clipped_surrogate(new, old, a, 0.2), 3),
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
    losses.check_vectors(tf.zeros(3), np.zeros(3), [0.0, 0.0, 0.0])
    for other in (tf.zeros(2), tf.zeros(1), tf.zeros([3, 1]), tf.zeros([1, 3]), tf.zeros([])):
        with pytest.raises(ValueError, match=r"\[B"):
            losses.check_vectors(tf.zeros(3), other)
    with pytest.raises(ValueError, match=r"\[B"):
        losses.check_vectors(tf.zeros([3, 1]), tf.zeros([3, 1]))
