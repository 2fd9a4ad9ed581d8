"""What an update prepares once for all epochs, against the whole network on the observations."""

import numpy as np
import pytest
import tensorflow as tf

from ppo import model
from ppo.nn import preprocessed
from ppo.nn.preprocessed import SplitNetwork
from ppo.nn.shards import in_shards
from ppo.objective import Batch
from ppo.settings import Params
from ppo.update import INITIAL_RESCALING_STATE, Updater

SHAPE = (20, 20, 2)
KEY = np.array([3, 4], np.int32)
SCALINGS = ["unit", "centered", "standardized"]


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Noise of unlike brightness and contrast."""
    rng = np.random.default_rng(seed)
    contrast, brightness = rng.integers(2, 100, (2, count, 1, 1, 1))
    return (rng.integers(0, contrast, (count, *SHAPE)) + brightness).astype(np.uint8)


def prepared(split: SplitNetwork, observations: np.ndarray):
    return tf.function(split.prepare, autograph=False)(tf.constant(observations))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(("network", "shards"), [("a3c", 1), ("a3c", 3), ("impala", 2)])
def test_rows_of_it_give_what_the_whole_network_gives(network, shards, scaling, precision):
    net = model.build(SHAPE, 4, network, 1, precision, scaling)
    split = SplitNetwork(net, batch_size=12, chunk_size=4, shards=shards)
    rows = tf.constant([7, 0, 3, 11, 8, 7])
    for seed in (0, 1):  # the second time nothing of the first is left
        seen = pictures(12, seed)
        outputs = in_shards(split.network, prepared(split, seen), shards, rows)
        exact = 1e-5 if precision == "float32" else 0.02
        for got, wanted in zip(outputs, net(seen[rows.numpy()]), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=exact, atol=exact * np.abs(wanted).max())


def test_on_a_gpu_nothing_is_scattered_which_for_bytes_the_cpu_would_do(monkeypatch):
    net = model.build(SHAPE, 4, "a3c")
    seen = pictures(12)
    kept = prepared(SplitNetwork(net, batch_size=12, chunk_size=4, shards=1), seen)
    monkeypatch.setattr(preprocessed, "has_gpu", lambda: True)
    split = SplitNetwork(net, batch_size=12, chunk_size=4, shards=1)
    graph = (
        tf.function(split.prepare, autograph=False).get_concrete_function(tf.constant(seen)).graph
    )
    assert not [op for op in graph.get_operations() if "Scatter" in op.type]
    np.testing.assert_array_equal(prepared(split, seen), kept)


def test_flat_observations_are_what_they_are():
    net = model.build((3,), 4, "mlp")
    split = SplitNetwork(net, batch_size=12, chunk_size=4, shards=1)
    seen = tf.zeros([12, 3])
    assert split.prepare(seen) is seen and split.network is net


@pytest.mark.parametrize(
    ("scaling", "value_gradient", "precision"),
    [
        ("unit", "shared", "bfloat16"),
        ("standardized", "separate", "float32"),
        ("centered", "detached", "float32"),
    ],
)
def test_an_update_on_images_equals_the_rest_of_the_network_on_prepared_data(
    scaling, value_gradient, precision
):
    params = Params(num_envs=2, num_steps=8, num_epochs=2, num_minibatches=2)
    seen = pictures(16)

    def updated(in_parts: bool) -> list[np.ndarray]:
        net = model.build(SHAPE, 4, "a3c", 1, precision, scaling, value_gradient)
        prepare, rest = preprocessed.in_two(net)
        updater = Updater(rest if in_parts else net, params, 2)
        observations = prepare(seen) if in_parts else tf.constant(seen)
        updater.update(batch(observations), KEY, 0.01, 0.1, INITIAL_RESCALING_STATE)
        return net.get_weights()

    before = model.build(SHAPE, 4, "a3c", 1, precision, scaling, value_gradient).get_weights()
    # The gradient's norm may be summed in another order, and a weight be rounded the other way.
    most = 1e-4 if precision == "float32" else 0.1
    for parts, whole, old in zip(updated(True), updated(False), before, strict=True):
        assert np.abs(parts - whole).mean() < most * np.abs(whole - old).mean()


def test_drift_is_measured_from_the_whole_network_s_features():
    net = model.build(SHAPE, 4, "a3c", 1, picture_scaling="centered")
    params = Params(num_envs=2, num_steps=8, num_minibatches=2, feature_drift_coef=1.0)
    updater, seen = Updater(net, params, 2), tf.constant(pictures(16))
    features = tf.function(
        lambda: updater._compute_features(updater._split.prepare(seen)), autograph=False
    )
    last = net.get_layer("dense1")
    flat = model.with_last_inputs(net)(seen)[2]
    wanted = flat @ last.kernel.value + last.bias.value
    np.testing.assert_allclose(features(), wanted, rtol=1e-4, atol=1e-4)


def batch(observations) -> Batch:
    rng = np.random.default_rng(5)
    actions = tf.constant(rng.integers(0, 4, 16).astype(np.int32))
    log_probs = tf.fill([16], -np.log(4.0).astype(np.float32))
    values, advantages, returns = tf.constant(rng.normal(size=(3, 16)).astype(np.float32))
    return Batch(observations, actions, log_probs, values, advantages, returns)
