"""The objective against the definitions of its statistics, written out in NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf

from ppo import losses, surrogates
from ppo.objective import Batch, objective
from ppo.settings import Params
from ppo.telemetry.update_statistics import statistics

SIZE, ACTIONS, CLIP_RANGE = 200, 5, 0.2
MEMORY = np.array([0.3, 0.5])  # of the smoothed value rescaling
GIVEN = {"clip_range": np.array(CLIP_RANGE), "rescaling_state": MEMORY}
FORMS = {
    "clipped": {},
    "peaked": {"peaked_policy_loss": True},
    "rollback": {"beyond_target_slope": 0.3},
    "quadratic": {"quadratic_policy_loss": True},
}
COEFFICIENTS = {"entropy_coef": 0.07, "value_coef": 0.6, "value_rescaling_decay": 0.8}
ROWS = ("values", *Batch._fields[1:])


def minibatch(seed: int = 0, size: int = SIZE) -> dict[str, np.ndarray]:
    """Logits, the log-probabilities of actions, values, and a Batch's fields but the first."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(size, ACTIONS))
    actions = rng.integers(ACTIONS, size=size)
    log_probs = np.log(probabilities(logits)[np.arange(size), actions])
    return {
        "logits": logits,
        "log_probs": log_probs,
        "values": rng.normal(size=size),
        "actions": actions,
        "old_log_probs": np.minimum(log_probs + rng.normal(0, 0.3, size), -0.05),
        "old_values": rng.normal(size=size),
        "advantages": rng.normal(0.5, 2, size),
        "returns": rng.normal(size=size),
    }


def probabilities(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(1, keepdims=True)


def compute(data: dict[str, np.ndarray], params: Params, run=lambda f: f, **more):
    """``objective``, of tensors made from the data, with no observations."""

    def of_tensors(logits, values, batch, clip_range, state):
        given = {"clip_range": clip_range, "rescaling_state": state, "params": params}
        result = objective(logits, values, batch, **given, **more)
        means, maxima = statistics(batch, clip_range, result)
        return result.policy_part, result.value_part, means, maxima, result.rescaling_state

    tensors = {name: tf.constant(array) for name, array in data.items()}
    batch = Batch(tf.zeros(len(data["logits"])), *(tensors[name] for name in Batch._fields[1:]))
    first = tensors["logits"], tensors["values"], batch
    return run(of_tensors)(*first, tf.constant(CLIP_RANGE, tf.float64), tf.constant(MEMORY))


def target(old: np.ndarray, signs: np.ndarray, kind: str) -> np.ndarray:
    """The target's ratio, pi' / pi_old."""
    if kind == "probability":
        return 1 + CLIP_RANGE * signs
    logit = np.log(old / (1 - old)) + 2 * np.arctanh(CLIP_RANGE * signs)
    return 1 / (1 + np.exp(-logit)) / old


def policy_losses(ratio: np.ndarray, t: np.ndarray, adv: np.ndarray, params: Params) -> np.ndarray:
    """-A r up to the target; beyond it flat, or rising with a slope; or a parabola."""
    if params.quadratic_policy_loss:
        return np.abs(adv) * (ratio - 1) ** 2 / (2 * np.abs(t - 1)) - adv * ratio
    slope = 1 if params.peaked_policy_loss else params.beyond_target_slope or 0
    reached = np.where(adv > 0, np.minimum(ratio, t), np.maximum(ratio, t))
    return slope * np.abs(adv * (ratio - reached)) - adv * reached


def scales(pseudo_entropies: np.ndarray, params: Params) -> tuple[np.ndarray | float, np.ndarray]:
    """The scales of the value losses, and the memory after them."""
    mean = pseudo_entropies.mean()
    memory = params.value_rescaling_decay * MEMORY + [mean, 1]
    return {
        "none": (1.0, MEMORY),
        "per_state": (pseudo_entropies, MEMORY),
        "per_batch": (mean, MEMORY),
        "smoothed": (memory[0] / memory[1], memory),
    }[params.value_rescaling]


def definitions(data: dict[str, np.ndarray], params: Params) -> dict[str, np.ndarray | float]:
    """What ``ppo.telemetry.scalars`` says of each statistic, and the two parts."""
    pi = probabilities(data["logits"])
    old = np.exp(data["old_log_probs"])
    ratio = np.exp(data["log_probs"]) / old
    adv, returns, values = data["advantages"], data["returns"], data["values"]
    if params.normalize_advantages:
        adv = (adv - adv.mean()) / max(adv.std(), params.advantage_std_floor)
    t = target(old, np.sign(adv), params.delta_target_policy)
    squares = (values - returns) ** 2
    if (reach := params.value_clip_range) is not None:
        near = np.clip(values, data["old_values"] - reach, data["old_values"] + reach)
        squares = np.maximum(squares, (near - returns) ** 2)
    scale, memory = scales((pi * (1 - pi)).sum(1), params)
    policy_loss = policy_losses(ratio, t, adv, params).mean()
    entropy = -(pi * np.log(pi)).sum(1).mean()
    policy_part = policy_loss - params.entropy_coef * entropy
    value_part = params.value_coef * (scale * squares / 2).mean()
    kl = ratio - 1 - np.log(ratio)
    return {
        "policy_part": policy_part,
        "value_part": value_part,
        "smoothed": memory,
        "loss": policy_part + value_part,
        "policy_gradient_loss": policy_loss,
        "value_loss": squares.mean() / 2,
        "entropy_loss": -entropy,
        "approx_kl": kl.mean(),
        "clip_fraction": (np.abs(ratio - 1) > CLIP_RANGE).mean(),
        "pseudo_entropy": (pi * (1 - pi)).sum(1).mean(),
        "value_scale": np.mean(scale),
        "target_distance": np.abs(t - 1).mean(),
        "beyond_target": np.where(adv > 0, ratio > t, ratio < t).mean(),
        "ratio": ratio.mean(),
        "ratio_distance": np.abs(ratio - 1).mean(),
        "share_above": (ratio > 1 + CLIP_RANGE).mean(),
        "ratio_above": np.where(ratio > 1 + CLIP_RANGE, ratio, 0).mean(),
        "share_below": (ratio < 1 - CLIP_RANGE).mean(),
        "ratio_below": np.where(ratio < 1 - CLIP_RANGE, ratio, 0).mean(),
        "surrogate_gain": -adv.mean() - policy_loss,
        "sample_kl_max": kl.max(),
        "ratio_max": ratio.max(),
    }


def assert_as_defined(changes: dict, run) -> None:
    data, params = minibatch(), Params(**COEFFICIENTS, **changes)
    policy_part, value_part, means, maxima, state = compute(data, params, run)
    got = {"policy_part": policy_part, "value_part": value_part, "smoothed": state}
    got |= means._asdict() | maxima._asdict()
    expected = definitions(data, params)
    assert got.keys() == expected.keys()
    for name, number in expected.items():
        np.testing.assert_allclose(got[name], number, rtol=1e-6, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("normalize", [True, False], ids=["normalized", "raw"])
@pytest.mark.parametrize("kind", ["probability", "logit"])
@pytest.mark.parametrize("form", FORMS)
def test_every_policy_loss_and_its_statistics_are_as_defined(form, kind, normalize, run):
    changes = FORMS[form] | {"delta_target_policy": kind, "normalize_advantages": normalize}
    assert_as_defined(changes, run)


def test_only_ppo_s_own_loss_needs_no_row_of_the_surrogates(monkeypatch):
    monkeypatch.setattr(surrogates, "SURROGATES", {})
    compute(minibatch(), Params())
    for changes in ({"delta_target_policy": "logit"}, *list(FORMS.values())[1:]):
        with pytest.raises(KeyError):
            compute(minibatch(), Params(**changes))


@pytest.mark.parametrize("value_clip_range", [None, 0.3])
@pytest.mark.parametrize("rescaling", ["none", "per_state", "per_batch", "smoothed"])
def test_every_value_loss_and_its_statistics_are_as_defined(rescaling, value_clip_range, run):
    assert_as_defined({"value_rescaling": rescaling, "value_clip_range": value_clip_range}, run)


@pytest.mark.parametrize("floor", [0.5, 4.0], ids=["below the deviation", "above it"])
def test_floored_advantages_are_as_defined(floor, run):
    assert_as_defined({"advantage_std_floor": floor}, run)


def test_the_mean_drift_is_added_to_the_policy_part(run):
    data, drift = minibatch(), np.random.default_rng(1).random(SIZE)
    without = compute(data, Params(), run)
    params = Params(feature_drift_coef=0.3)
    policy_part, value_part, means, _, _ = compute(data, params, run, drift=tf.constant(drift))
    assert float(policy_part - without[0]) == pytest.approx(0.3 * drift.mean())
    assert value_part == without[1]
    assert float(means.loss - without[2].loss) == pytest.approx(0.3 * drift.mean())


def test_the_data_distinguish_the_statistics():
    numbers = definitions(minibatch(), Params(delta_target_policy="logit", **COEFFICIENTS))
    assert 0.1 < numbers["clip_fraction"] < 0.9
    assert 0.1 < numbers["beyond_target"] < 0.9
    assert abs(numbers["clip_fraction"] - numbers["beyond_target"]) > 0.05


@pytest.mark.parametrize("rescaling", ["none", "per_state", "per_batch", "smoothed"])
def test_the_value_part_moves_the_values_alone(rescaling):
    data = {name: tf.constant(array) for name, array in minibatch().items()}
    batch = Batch(tf.zeros(SIZE), *(data[name] for name in Batch._fields[1:]))
    outputs = [data["logits"], data["values"]]
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        result = objective(*outputs, batch, **GIVEN, params=Params(value_rescaling=rescaling))
    logits, values = tape.gradient(result.value_part, outputs)
    assert logits is None
    assert np.abs(values).min() > 0


def test_the_loss_is_the_sum_of_its_parts():
    data = {name: tf.constant(array) for name, array in minibatch().items()}
    batch = Batch(tf.zeros(SIZE), *(data[name] for name in Batch._fields[1:]))
    outputs = [data["logits"], data["values"]]
    result = objective(*outputs, batch, **GIVEN, params=Params())
    assert float(result.loss) == float(result.policy_part) + float(result.value_part)


# Shapes


@pytest.mark.parametrize("name", ROWS)
def test_a_column_beside_rows_is_refused(name, run):
    data = minibatch(size=3)
    data[name] = data[name][:, np.newaxis]
    with pytest.raises(ValueError, match=r"\[B"):
        compute(data, Params(), run)


@pytest.mark.parametrize("name", ["logits", *ROWS])
def test_another_number_of_samples_is_refused(name, run):
    data = minibatch(size=3)
    data[name] = data[name][:1]
    with pytest.raises(ValueError, match=r"\[B"):
        compute(data, Params(), run)


@pytest.mark.parametrize("rank", [1, 3])
def test_logits_of_another_rank_are_refused(rank, run):
    data = minibatch(size=3)
    data["logits"] = np.zeros([3] * rank)
    with pytest.raises(ValueError, match=r"\[B"):
        compute(data, Params(), run)


@pytest.mark.parametrize("value_columns", [(), (1,)], ids=["rows", "a column"])
def test_shapes_are_checked_when_the_graph_is_traced(value_columns):
    """With nothing but specifications of tensors; the number of samples may be unknown."""
    row = tf.TensorSpec([None], tf.float32)
    batch = Batch(tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.int32), *[row] * 4)
    values = tf.TensorSpec([None, *value_columns])
    specifications = tf.TensorSpec([None, ACTIONS]), values, batch

    def loss(*tensors):
        given = {"clip_range": tf.constant(0.1), "rescaling_state": tf.zeros(2)}
        return objective(*tensors, **given, params=Params()).loss

    graph = tf.function(loss, autograph=False)
    if value_columns:
        with pytest.raises(ValueError, match=r"\[B"):
            graph.get_concrete_function(*specifications)
    else:
        graph.get_concrete_function(*specifications)


# Minibatches


@pytest.mark.parametrize("rescaling", ["none", "per_batch", "smoothed"])
def test_parts_of_a_minibatch_have_on_the_mean_the_loss_of_the_whole(run, rescaling):
    data, params = minibatch(7), Params(**COEFFICIENTS, value_rescaling=rescaling)
    advantages = data["advantages"]
    moments = tf.constant([advantages.mean(), advantages.std()])
    mean = tf.reduce_mean(losses.pseudo_entropy(tf.constant(data["logits"])))
    parts = [{k: v[rows] for k, v in data.items()} for rows in (slice(0, 50), slice(50, SIZE))]
    shared = {"moments": moments, "mean": lambda samples: mean}
    found = [compute(part, params, run, **shared) for part in parts]
    whole = compute(data, params, run)
    for of_first, of_second, of_whole in zip(*(f[:2] for f in found), whole[:2], strict=True):
        np.testing.assert_allclose((of_first + 3 * of_second) / 4, of_whole, rtol=1e-12)
    np.testing.assert_allclose(found[0][-1], whole[-1])


def test_rows_of_a_batch_are_its_samples():
    tensors = [tf.range(start, start + 4) for start in range(0, 60, 10)]
    rows = Batch(*tensors).rows(tf.constant([2, 0, 2]))
    assert [tensor.numpy().tolist() for tensor in rows] == [
        [start + 2, start, start + 2] for start in range(0, 60, 10)
    ]


def test_what_is_beyond_the_target_of_the_quadratic_loss_is_beyond_where_it_is_kept():
    params = Params(quadratic_policy_loss=True, delta_target_policy="logit")
    old = np.log([0.9985] * 4)
    signs = tf.constant([1.0, -1.0, 1.0, -1.0], tf.float64)
    zeros = tf.zeros(4, tf.float64)
    batch = Batch(zeros, tf.zeros(4, tf.int32), tf.constant(old), zeros, signs, zeros)
    # The logit target is at most 0.00075 off, the loss has its lowest value at 0.001.
    new = np.exp(old) * (1 + np.array([0.0008, -0.0008, 0.0012, -0.0012]))
    logits = tf.constant(np.log(np.stack([new, 1 - new], -1)))
    clip_range = tf.constant(0.2, tf.float64)
    given = {"clip_range": clip_range, "rescaling_state": tf.zeros(2, tf.float64)}
    result = objective(logits, zeros, batch, **given, params=params)
    means, _ = statistics(batch, clip_range, result)
    assert means.beyond_target == 0.5
    assert float(means.target_distance) == pytest.approx(0.001)
