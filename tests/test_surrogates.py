"""The policy losses against published forms, closed forms and finite differences.

Random cases are array elements in float64; kinks, where there is no derivative, are left out.
"""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from ppo import losses, surrogates

CASES = 2000
FORMS = {
    "clipped": {},
    "peaked": {"beyond_target_slope": 1.0},
    "rollback": {"beyond_target_slope": 0.3},
    "steep": {"beyond_target_slope": 2.5},
    **{name: {"name": name} for name in surrogates.SURROGATES},
}
KINDS = ("probability", "logit")


def cases(seed: int, low: float = 0.001, high: float = 0.999):
    """log pi, log pi_old, A, all [CASES] in float64, with ratios far inside and outside."""
    rng = np.random.default_rng(seed)
    old = rng.uniform(low, high, CASES)
    new = np.clip(old * np.exp(rng.normal(0, 0.4, CASES)), 1e-6, 1 - 1e-9)
    return np.log(new), np.log(old), rng.normal(size=CASES)


def far_from_kink(new, old, advantages, clip_range, kind):
    target = surrogates.target_policy(np.exp(old), advantages, clip_range, kind).numpy()
    return np.abs(np.exp(new) - target) / np.exp(old) > 1e-4


def loss_of(log_probs, old, advantages, clip_range, kind, **form):
    """As ``objective`` chooses it: without a form and with PPO's target, PPO's own."""
    if kind == "probability" and not form:
        return losses.clipped_surrogate(tf.exp(log_probs - old), advantages, clip_range)
    return surrogates.policy_loss(
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
    there = surrogates.target_policy(p, advantages, clip_range, "logit").numpy()
    mirrored = surrogates.target_policy(1 - p, -advantages, clip_range, "logit").numpy()
    np.testing.assert_allclose(there, 1 - mirrored, rtol=1e-9)


@pytest.mark.parametrize("clip_range", [0.05, 0.2, 0.7])
def test_logit_target_is_a_fixed_distance_away_in_logits(clip_range):
    _, old, advantages = cases(1)
    p = np.exp(old)
    logit = np.log(p / (1 - p)) + 2 * np.arctanh(clip_range * np.sign(advantages))
    target = surrogates.target_policy(p, advantages, clip_range, "logit").numpy()
    np.testing.assert_allclose(target, 1 / (1 + np.exp(-logit)), rtol=1e-9)


def test_both_targets_are_equal_at_one_half():
    _, _, advantages = cases(2)
    half = np.full(CASES, 0.5)
    probability, logit = (surrogates.target_policy(half, advantages, 0.3, kind) for kind in KINDS)
    np.testing.assert_allclose(probability, logit, rtol=1e-12)


def test_logit_offset_relative_to_the_probability_offset():
    _, old, advantages = cases(3)
    p, s, eps = np.exp(old), np.sign(advantages), 0.2
    steps = [surrogates.target_policy(p, advantages, eps, kind).numpy() - p for kind in KINDS]
    expected = 2 * (1 - p) / (1 + eps * s * (2 * p - 1))
    np.testing.assert_allclose(steps[1] / steps[0], expected, rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_target_and_its_change_agree(kind):
    _, old, advantages = cases(4)
    change = surrogates.target_change(tf.constant(old), advantages, 0.2, kind).numpy()
    target = surrogates.target_policy(np.exp(old), advantages, 0.2, kind).numpy()
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
    target = float(surrogates.target_policy(p, advantages, clip_range, kind)[0])
    assert (target > old) == (advantage > 0) and (target < old) == (advantage < 0)
    assert kind == "probability" or 0 < target < 1


def test_target_change_is_the_clip_range_by_default():
    _, old, advantages = cases(23)
    change = surrogates.target_change(tf.constant(old), advantages, 0.2)
    np.testing.assert_allclose(change, 0.2 * np.sign(advantages), rtol=1e-12)


# The surrogate


@pytest.mark.parametrize("form", ["clipped", "linear"])
def test_clipped_form_is_the_textbook_loss(form, run):
    new, old, advantages = cases(5)
    ratio = np.exp(new - old)
    textbook = -np.minimum(advantages * ratio, advantages * np.clip(ratio, 0.8, 1.2))
    tensors = tf.constant(new), tf.constant(old), tf.constant(advantages)
    loss = run(lambda *given: loss_of(*given, 0.2, "probability", **FORMS[form]))(*tensors)
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
                loss, _ = surrogates.policy_loss(log_probs, old, advantages, 0.2)
            else:
                ratios = tf.exp(log_probs - old)
                loss = losses.clipped_surrogate(ratios, tf.constant(advantages), 0.2)
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
    loss = surrogates.surrogate(new, old, advantages, eps, beyond_target_slope=slope).numpy()
    np.testing.assert_allclose(loss, -published, rtol=1e-6, atol=1e-12)


def test_quadratic_is_simple_policy_optimization():
    """Xie et al. 2025: maximise r A - |A| (r - 1)^2 / (2 eps)."""
    new, old, advantages = cases(8)
    r, eps = np.exp(new - old), 0.2
    published = r * advantages - np.abs(advantages) / (2 * eps) * (r - 1) ** 2
    loss = surrogates.surrogate(new, old, advantages, eps, quadratic=True).numpy()
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
        surrogates.surrogate(tf.constant(new), old, advantages, 0.2, kind, beyond_target_slope=a)
        for a in (0.0, slope)
    )
    target = surrogates.target_policy(np.exp(old), advantages, 0.2, kind).numpy()
    past = np.maximum(0, (np.exp(new) - target) / np.exp(old) * np.sign(advantages))
    np.testing.assert_allclose(bent - clipped, slope * np.abs(advantages) * past, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("form", "pull"), [("clipped", 0.0), ("peaked", 1.0), ("rollback", 0.3)])
def test_beyond_the_target_clipped_is_flat_and_the_others_pull_back(form, pull, kind):
    _, old, advantages = cases(11, high=0.6)
    target = surrogates.target_policy(np.exp(old), advantages, 0.2, kind).numpy()
    beyond = np.log(target * (1 + 0.1 * np.sign(advantages)))
    _, slope = value_and_slope(beyond, old, advantages, 0.2, kind, **FORMS[form])
    np.testing.assert_allclose(slope, pull * advantages, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_quadratic_is_lowest_at_the_target_and_pulls_back_from_beyond(kind):
    _, old, advantages = cases(12, high=0.6)
    target = surrogates.target_policy(np.exp(old), advantages, 0.2, kind).numpy()
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
    expected = -1 + moved / surrogates.QUADRATIC_TARGET_FLOOR
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
    change = surrogates.target_change(tf.constant(old), advantages, 0.2, kind)
    beyond = surrogates.beyond_target(new, old, advantages, change).numpy().astype(bool)
    _, slope = value_and_slope(new, old, advantages, 0.2, kind)
    np.testing.assert_array_equal(beyond, slope == 0)
    assert 50 < beyond.sum() < CASES - 50


def test_nothing_without_an_advantage_is_beyond_a_target():
    new, old, _ = cases(26)
    change = surrogates.target_change(tf.constant(old), np.zeros(CASES), 0.2)
    assert not surrogates.beyond_target(new, old, np.zeros(CASES), change).numpy().any()


def test_a_ratio_at_its_target_is_not_beyond_it():
    _, old, advantages = cases(27)
    change = surrogates.target_change(tf.constant(old), advantages, 0.0)
    assert not surrogates.beyond_target(old, old, advantages, change).numpy().any()
