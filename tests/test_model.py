"""The network: its shapes, its initial scale, and the convolution over bytes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ppo import losses, model
from ppo.errors import NotFinite
from ppo.nn.bfloat16 import bfloat16_relu, rounded
from ppo.nn.layer_norm import EPSILON, layer_normalized
from ppo.nn.shards import in_shards
from ppo.policy import Policy, policy_of
from ppo.settings.fields import NetworkSettings
from ppo.system.keys import Purpose, key

PICTURE = (84, 84, 4)
SCALINGS = ["unit", "centered", "standardized"]


def pictures(n: int, shape=PICTURE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape)).astype(np.uint8)


@pytest.mark.parametrize(
    ("network", "shape", "weights"),
    [
        # 4 * 8 * 8 * 32 + 32, 32 * 4 * 4 * 64 + 64, 64 * 3 * 3 * 64 + 64, 3136 * 512 + 512, heads
        ("nature", PICTURE, 8224 + 32832 + 36928 + 1606144 + 513 * 7),
        # 4 * 8 * 8 * 16 + 16, 16 * 4 * 4 * 32 + 32, 2592 * 256 + 256, heads
        ("a3c", PICTURE, 4112 + 8224 + 663808 + 257 * 7),
        # 3 x 3 convolutions from 4 to 16 to 32 to 32, four more after each; 11 * 11 * 32 pixels
        (
            "impala",
            PICTURE,
            592 + 4 * 2320 + 4640 + 4 * 9248 + 5 * 9248 + (3872 * 256 + 256) + 257 * 7,
        ),
        ("mlp", (4,), 4 * 64 + 64 + 64 * 64 + 64 + 65 * 7),
    ],
)
def test_shapes_and_number_of_weights(network, shape, weights):
    net = model.build(shape, 6, network)
    observations = pictures(3) if len(shape) == 3 else np.zeros((3, *shape), np.float32)
    logits, values = net(observations)
    assert logits.shape == (3, 6)
    assert values.shape == (3,)
    assert sum(w.size for w in net.get_weights()) == weights


def test_trunk_is_shared_by_both_heads():
    net = model.build(PICTURE, 6, "a3c")
    trunk = [
        w.value for w in net.trainable_weights if w.path.split("/")[0] not in ("policy", "value")
    ]
    assert len(trunk) == 6
    for output in (0, 1):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(net(pictures(4))[output]))
        assert all(np.abs(g).max() > 0 for g in tape.gradient(loss, trunk))


def test_detached_value_trains_its_head_alone():
    shared, net = (model.build(PICTURE, 6, "a3c", value_gradient=v) for v in ("shared", "detached"))
    for ours, theirs in zip(net.get_weights(), shared.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(net(pictures(4)), shared(pictures(4)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert reached(net, output=1) == {"value"}
    assert reached(net, output=0) == {"conv1", "conv2", "dense1", "policy"}


@pytest.mark.parametrize(("network", "shape"), [("a3c", PICTURE), ("mlp", (3,))])
def test_separate_value_has_a_network_of_its_own(network, shape):
    shared, net = (model.build(shape, 6, network, value_gradient=v) for v in ("shared", "separate"))
    of_policy, of_value = reached(net, output=0, shape=shape), reached(net, output=1, shape=shape)
    assert of_policy | of_value == set(model.weighted_layers(net))
    assert not of_policy & of_value
    assert of_policy == reached(shared, output=0, shape=shape)
    assert of_value - {"value"} == {f"value_{name}" for name in of_policy - {"policy"}}
    for name in of_policy:
        for ours, theirs in zip(
            net.get_layer(name).get_weights(), shared.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
        if name != "policy":
            own = net.get_layer(f"value_{name}").get_weights()[0]
            assert np.abs(own - net.get_layer(name).get_weights()[0]).max() > 0.01


@pytest.mark.parametrize("value_gradient", ["shared", "detached", "separate"])
def test_the_last_of_the_weights_are_the_policy_biases(value_gradient):
    for network, shape in (
        ("a3c", PICTURE),
        ("nature", PICTURE),
        ("impala", PICTURE),
        ("mlp", (3,)),
    ):
        net = model.build(shape, 6, network, value_gradient=value_gradient)
        assert net.weights[-1] is net.get_layer("policy").bias


def reached(net, output: int, shape=PICTURE) -> set[str]:
    """The layers that the gradient of an output reaches."""
    observations = pictures(4) if shape == PICTURE else np.ones((4, *shape), np.float32)
    layers = model.weighted_layers(net)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(net(observations)[output]))
    gradients = tape.gradient(loss, {n: [w.value for w in ws] for n, ws in layers.items()})
    return {name for name, of_layer in gradients.items() if of_layer[0] is not None}


@pytest.mark.parametrize("network", ["nature", "a3c", "impala"])
def test_weights_are_orthogonal_with_the_gains_of_the_field(network):
    for layer in model.build(PICTURE, 6, network).layers:
        if not layer.weights:
            continue
        kernel, bias = (w.numpy() for w in layer.weights)
        gain = {"policy": 0.01, "value": 1.0}.get(layer.name, 2**0.5)
        matrix = kernel.reshape(-1, kernel.shape[-1])
        np.testing.assert_allclose(matrix.T @ matrix, gain**2 * np.eye(matrix.shape[1]), atol=1e-5)
        assert not bias.any()


@pytest.mark.parametrize("compiled", [False, True])
def test_layer_norm_equals_keras(compiled):
    sums = np.random.default_rng(0).normal(3, 5, (7, 16)).astype(np.float32)
    theirs = keras.layers.LayerNormalization(epsilon=EPSILON)
    ours = tf.function(layer_normalized) if compiled else layer_normalized
    np.testing.assert_allclose(ours(sums), theirs(sums), atol=1e-5)
    np.testing.assert_allclose(np.std(ours(sums), -1), 1, rtol=1e-4)


@pytest.mark.parametrize(("network", "shape"), [("a3c", PICTURE), ("mlp", (3,))])
def test_layer_norm_leaves_the_size_and_the_mean_of_the_sums_without_effect(network, shape):
    observations = pictures(4) if shape == PICTURE else np.ones((4, *shape), np.float32)
    for layer_norm in (False, True):
        net = model.build(shape, 6, network, layer_norm=layer_norm)
        before = net(observations)[1]
        layer = model.policy_trunk(net)[-1]
        kernel, bias = layer.get_weights()
        layer.set_weights([10 * kernel + 0.5, bias])
        assert np.allclose(net(observations)[1], before, atol=1e-3) == layer_norm


def test_layer_norm_keeps_the_initial_weights():
    without, net = (model.build(PICTURE, 6, "a3c", layer_norm=on) for on in (False, True))
    for ours, theirs in zip(net.get_weights(), without.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_policy_is_nearly_uniform_at_first():
    logits, _ = model.build(PICTURE, 6, "nature")(pictures(8))
    assert np.abs(logits).max() < 0.1


def test_weights_follow_from_the_seed():
    first, same, other = (model.build(PICTURE, 6, "a3c", seed).get_weights() for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, same, strict=True))
    assert not (first[0] == other[0]).all()
    assert not (first[0][:2, :2, :2, :2] == first[2][:2, :2, :2, :2]).all()


def test_width_multiplies_the_filters_alone():
    for network in ("a3c", "impala"):
        one, three = (model.build(PICTURE, 6, network, network_width=n) for n in (1, 3))
        for narrow, wide in zip(one.layers, three.layers, strict=True):
            if narrow.weights:
                factor = 3 if narrow.name.startswith("conv") else 1
                assert wide.bias.shape[0] == factor * narrow.bias.shape[0]


def test_a_residual_block_of_zeros_passes_on_what_it_gets():
    net = model.build(PICTURE, 6, "impala", 1)
    first = net.get_layer("conv1")
    for layer in net.layers:
        if layer.name.startswith("conv") and layer.name not in ("conv1", "conv6", "conv11"):
            layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    seen = pictures(2)
    pooled = tf.nn.max_pool2d(first(net.get_layer("pixels")(seen)), 3, 2, "SAME")
    for name in ("conv6", "conv11"):
        pooled = tf.nn.max_pool2d(net.get_layer(name)(pooled), 3, 2, "SAME")
    flat = tf.reshape(tf.nn.relu(pooled), [2, -1])
    features = net.get_layer("dense1")(flat)
    np.testing.assert_allclose(net.get_layer("policy")(features), net(seen)[0], atol=1e-6)


def test_image_of_one_colour_is_nothing_once_centered():
    for scaling in ("centered", "standardized"):
        net = model.build(PICTURE, 6, "a3c", 1, picture_scaling=scaling)
        grey = np.full((2, *PICTURE), 87, np.uint8)
        grey[1] = 200
        np.testing.assert_allclose(net(grey)[1], 0.0, atol=1e-4)


def test_standardized_network_sees_no_brightness_and_no_contrast():
    dark = pictures(4) // 4
    nets = {s: model.build(PICTURE, 6, "a3c", 1, picture_scaling=s) for s in SCALINGS}
    values = {s: (net(dark)[1].numpy(), net(dark * 2 + 90)[1].numpy()) for s, net in nets.items()}
    np.testing.assert_allclose(*values["standardized"], rtol=1e-3, atol=1e-4)
    assert not np.allclose(*values["centered"], rtol=0.1)
    np.testing.assert_allclose(nets["centered"](dark)[1], nets["centered"](dark + 90)[1], atol=1e-4)
    assert not np.allclose(nets["unit"](dark)[1], nets["unit"](dark + 90)[1], rtol=0.1)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_saved_and_reloaded_network_is_the_same_function(scaling, precision, tmp_path):
    net = model.build(PICTURE, 6, "a3c", 1, precision, scaling)
    net.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    for ours, theirs in zip(net(pictures(4)), loaded(pictures(4)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_network_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        model.build(PICTURE, 6, "mlp")
    with pytest.raises(ValueError, match="does not fit"):
        model.build((4,), 2, "nature")


def test_a_precision_that_is_not_chosen_yet_is_refused():
    with pytest.raises(ValueError, match="precision = 'auto': choose float32 or bfloat16"):
        model.build_model(PICTURE, 6, NetworkSettings())


def test_sampler_draws_from_the_policy_with_its_key():
    net = model.build((2,), 3, "mlp")
    net.get_layer("policy").bias.assign(np.log([0.5, 0.3, 0.2]))
    act = Policy(net).act
    observations = np.zeros((20_000, 2), np.float32)
    actions, log_probs, values = act(observations, key(1, Purpose.ACTION, 0))
    shares = np.bincount(actions) / len(actions)
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.02)
    np.testing.assert_allclose(log_probs, np.log([0.5, 0.3, 0.2])[actions], rtol=1e-5)
    assert values.shape == (20_000,)
    assert (actions == act(observations, key(1, Purpose.ACTION, 0))[0]).all()
    assert (actions != act(observations, key(1, Purpose.ACTION, 1))[0]).any()


def test_greedy_policy_takes_the_most_probable_action():
    net = model.build((2,), 3, "mlp")
    net.get_layer("policy").bias.assign([0.0, 1.0, 0.5])
    observations = np.zeros((50, 2), np.float32)
    greedy = Policy(net, choice="greedy").act(observations, key(1, Purpose.ACTION, 0))
    assert (greedy.actions == 1).all() and greedy.actions.dtype == np.int32
    sampled = Policy(net).act(observations, key(1, Purpose.ACTION, 0))
    assert set(sampled.actions.tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(greedy.values, sampled.values)
    np.testing.assert_allclose(greedy.log_probs, sampled.log_probs[sampled.actions == 1][0])


@pytest.mark.parametrize("head", ["policy", "value"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_output_that_is_not_finite_is_refused_with_the_observations(head, number):
    net = model.build((2,), 3, "mlp")
    bias = net.get_layer(head).bias
    bias.assign(np.full(bias.shape, number))
    observations = np.ones((4, 2), np.float32)
    with pytest.raises(NotFinite) as caught:
        Policy(net).act(observations, key(1, Purpose.ACTION, 0))
    np.testing.assert_array_equal(caught.value.observations, observations)


def test_policy_is_known_from_settings_and_weights_alone():
    settings = NetworkSettings(network="a3c", picture_scaling="centered", precision="float32")
    net = model.build_model(PICTURE, 5, settings, seed=3)
    policy = policy_of(PICTURE, settings, net.get_weights())
    np.testing.assert_array_equal(policy.values(pictures(3)), net(pictures(3))[1])


@pytest.mark.parametrize("weights", [[np.zeros(2)], [np.zeros((2, 2))] * 10])
def test_policy_of_weights_that_do_not_fit_is_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        policy_of(PICTURE, NetworkSettings(network="a3c", precision="float32"), weights)


def test_bfloat16_computes_the_trunk_in_it_from_the_same_float32_weights():
    exact, rough = (model.build(PICTURE, 6, "a3c", 1, p) for p in ("float32", "bfloat16"))
    for ours, theirs in zip(exact.get_weights(), rough.get_weights(), strict=True):
        assert theirs.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)
    assert {layer.compute_dtype for layer in rough.layers if "conv" in layer.name} == {"bfloat16"}
    (logits, values), (rough_logits, rough_values) = exact(pictures(16)), rough(pictures(16))
    assert rough_logits.dtype == rough_values.dtype == tf.float32
    # bfloat16 has 8 bits: about 0.4 percent of each sum's size.
    np.testing.assert_allclose(rough_values, values, atol=0.05 * np.abs(values).max())
    np.testing.assert_allclose(rough_logits, logits, atol=0.05 * np.abs(logits).max())
    assert np.abs(rough_values - values).max() > 0


@pytest.mark.parametrize("compiled", [True, False])
def test_gradient_of_the_relu_in_bfloat16_has_the_bits_of_the_plain_one(compiled):
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-30, 30, (2, 20_000)) * rng.choice([-1, 0, 1], (2, 20_000))
    x, upstream = tf.cast(sizes, tf.bfloat16)

    def gradient(relu):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = relu(x)
        return tape.gradient(y, x, upstream)

    ours, plain = (
        tf.function(gradient)(relu) if compiled else gradient(relu)
        for relu in (bfloat16_relu, tf.nn.relu)
    )
    assert np.count_nonzero(plain) > 4000
    np.testing.assert_array_equal(tf.bitcast(ours, tf.int16), tf.bitcast(plain, tf.int16))


@pytest.mark.parametrize(
    ("network", "layer_norm", "scaling", "value_gradient"),
    [
        *(
            ("a3c", False, scaling, value_gradient)
            for scaling in ("unit", "centered", "standardized")
            for value_gradient in ("shared", "separate")
        ),
        *(("a3c", True, "centered", "separate"), ("a3c", True, "standardized", "shared")),
        *(("nature", False, "unit", "separate"), ("nature", False, "standardized", "shared")),
        *(("impala", False, "unit", "shared"), ("impala", False, "standardized", "separate")),
    ],
)
def test_policy_with_rounded_weights_has_the_bits_of_its_network(
    network, layer_norm, scaling, value_gradient
):
    settings = NetworkSettings(
        network=network,
        layer_norm=layer_norm,
        picture_scaling=scaling,
        value_gradient=value_gradient,
        precision="bfloat16",
    )
    net = model.build_model(PICTURE, 5, settings, seed=3)
    policy, draw = Policy(net, shards=2), key(1, Purpose.ACTION, 0)
    rng = np.random.default_rng(4)
    whole = tf.function(lambda x: in_shards(net, x, 2), autograph=False)
    for _ in range(2):
        actions, log_probs, values = policy.act(pictures(7), draw)
        logits, wanted = whole(pictures(7))
        np.testing.assert_array_equal(values, wanted)
        np.testing.assert_array_equal(log_probs, losses.log_prob(logits, actions))
        # A change that rounding would hide is none that the policy could miss.
        net.set_weights([w + rng.normal(0, 0.1, w.shape) for w in net.get_weights()])
        policy.prepare()


def test_policy_in_float32_needs_no_twin():
    net = model.build(PICTURE, 6, "a3c")
    assert rounded(net) is net
