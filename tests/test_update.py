"""The update against PPO written out plainly, and its edges: early stop, non-finite numbers."""

import numpy as np
import pytest
import tensorflow as tf

from ppo import model
from ppo.diagnostics import Diagnostics
from ppo.model import in_shards
from ppo.objective import Batch, Means
from ppo.optimizer import Adam
from ppo.params import Params
from ppo.process.arrays import aligned_zeros
from ppo.update import NO_MEMORY, Updater, UpdateResult, flattened

KEY = np.array([3, 4], np.int32)
PARAMS = Params(
    network="mlp",
    num_envs=4,
    num_steps=16,
    num_epochs=3,
    num_minibatches=2,
    max_grad_norm=0.05,
    diagnostics_interval=0,
)
CHANGES = {
    "logit": {"delta_target_policy": "logit"},
    "peaked": {"peaked_policy_loss": True},
    "rollback": {"beyond_target_slope": 0.3},
    "quadratic": {"quadratic_policy_loss": True},
    "per_state": {"value_rescaling": "per_state"},
    "per_batch": {"value_rescaling": "per_batch"},
    "smoothed": {"value_rescaling": "smoothed"},
    "value_clip_range": {"value_clip_range": 0.01},
    "raw advantages": {"normalize_advantages": False},
}


def changed(**changes) -> Params:
    return Params(**{**PARAMS.model_dump(), **changes})


def batch(size: int = 64, advantage: float = 1.0) -> Batch:
    rng = np.random.default_rng(5)
    observations = rng.normal(size=(size, 3)).astype(np.float32)
    net = model.build((3,), 4, "mlp")
    actions = rng.integers(0, 4, size).astype(np.int32)
    logits, values = net(observations)
    returns = rng.normal(size=size).astype(np.float32)
    return Batch(
        tf.constant(observations),
        tf.constant(actions),
        model.log_prob(logits, actions),
        values,
        tf.constant(advantage * rng.normal(size=size).astype(np.float32)),
        tf.constant(returns),
    )


def update(params: Params, data: Batch, shards: int = 1, learning_rate: float = 0.01):
    net = model.build((3,), 4, "mlp")
    updater = Updater(net, params, shards)
    result = updater.update(data, KEY, learning_rate, 0.1, NO_MEMORY)
    return net.get_weights(), result


def textbook_ppo(params: Params, data: Batch, learning_rate: float, clip_range: float):
    """PPO as its paper has it, with nothing of the package but the network and the shuffle: the
    weights, and the gradients' norms [epochs, minibatches].
    """
    net = model.build((3,), 4, "mlp")
    weights = [w.value for w in net.trainable_weights]
    moments = [[np.zeros(w.shape), np.zeros(w.shape)] for w in weights]
    norms = []
    for epoch in range(params.num_epochs):
        order = tf.random.experimental.stateless_shuffle(
            tf.range(params.batch_size), [KEY[0], KEY[1] + epoch]
        )
        for rows in np.split(order.numpy(), params.num_minibatches):
            obs, act, old, _, adv, ret = (t.numpy()[rows] for t in data)
            adv = (adv - adv.mean()) / (adv.std() + 1e-8)
            with tf.GradientTape() as tape:
                logits, values = net(obs)
                log_probs = tf.nn.log_softmax(logits)
                ratio = tf.exp(tf.gather(log_probs, act, batch_dims=1) - old)
                clipped = tf.clip_by_value(ratio, 1 - clip_range, 1 + clip_range)
                policy = -tf.reduce_mean(tf.minimum(ratio * adv, clipped * adv))
                entropy = -tf.reduce_mean(tf.reduce_sum(tf.exp(log_probs) * log_probs, -1))
                value = tf.reduce_mean((values - ret) ** 2) / 2
                loss = policy - params.entropy_coef * entropy + params.value_coef * value
            gradients = [g.numpy() for g in tape.gradient(loss, weights)]
            norm = np.sqrt(sum((g**2).sum() for g in gradients))
            norms.append(norm)
            count = len(norms)
            for w, g, moment in zip(weights, gradients, moments, strict=True):
                g = g * min(1, params.max_grad_norm / norm)
                moment[0] = 0.9 * moment[0] + 0.1 * g
                moment[1] = 0.999 * moment[1] + 0.001 * g**2
                rate = learning_rate * np.sqrt(1 - 0.999**count) / (1 - 0.9**count)
                w.assign_sub(rate * moment[0] / (np.sqrt(moment[1]) + params.adam_epsilon))
    return net.get_weights(), np.reshape(norms, [params.num_epochs, -1])


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_with_every_variant_off_the_weights_are_those_of_the_textbook(shards):
    data = batch()
    weights, result = update(PARAMS, data, shards)
    assert result.means["clip_fraction"].max() > 0.05
    textbook, norms = textbook_ppo(PARAMS, data, 0.01, 0.1)
    for got, expected in zip(weights, textbook, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.grad_norms, norms.mean(1), rtol=1e-4)


@pytest.mark.parametrize("change", CHANGES)
def test_every_variant_changes_the_weights(change):
    data = batch()
    plain, _ = update(PARAMS, data)
    varied, _ = update(changed(**CHANGES[change]), data)
    assert max(np.abs(a - b).max() for a, b in zip(plain, varied, strict=True)) > 1e-5


def test_the_same_update_gives_the_same_bits():
    data = batch()
    first, second = (update(PARAMS, data, shards=2)[0] for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_shards_compute_what_the_whole_does():
    net = model.build((84, 84, 4), 6, "a3c")
    pixels = np.random.default_rng(6).integers(0, 256, (7, 84, 84, 4)).astype(np.uint8)
    whole = net(pixels)
    for shards in (1, 2, 3, 9):
        for got, expected in zip(in_shards(net, pixels, shards), whole, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_target_kl_ends_the_epochs_after_the_first_that_exceeds_it():
    _, all_epochs = update(PARAMS, batch())
    kl = all_epochs.means["approx_kl"]
    assert kl[0] < kl[1]
    _, stopped = update(changed(target_kl=float(kl[0] + kl[1]) / 2), batch())
    assert stopped.epochs == 2
    for name, values in stopped.means.items():
        np.testing.assert_array_equal(values, all_epochs.means[name][:2])


def test_statistics_are_means_over_every_minibatch_of_every_epoch():
    _, result = update(PARAMS, batch())
    scalars = result.scalars()
    assert result.means.keys() == set(Means._fields) and result.grad_norms.shape == (3,)
    for name, values in result.means.items():
        assert values.shape == (3,)
        assert scalars[f"train/{name}"] == pytest.approx(values.mean())
    assert scalars["train/grad_norm"] == pytest.approx(result.grad_norms.mean())
    assert scalars["train/approx_kl_max"] == scalars["epochs/approx_kl_3"]
    assert scalars["train/ratio_max"] >= scalars["epochs/ratio_max_1"] >= 1


def test_an_epoch_at_the_target_kl_does_not_exceed_it():
    kl = update(changed(target_kl=1e9), batch())[1].means["approx_kl"]
    _, result = update(changed(target_kl=float(kl[0])), batch())
    assert result.epochs == 2


def test_while_nothing_is_learnt_every_epoch_measures_the_whole_batch():
    data = batch()
    moved = np.random.default_rng(7).normal(0, 0.3, len(data.actions)).astype(np.float32)
    data = data._replace(old_log_probs=data.old_log_probs + moved)
    _, result = update(changed(normalize_advantages=False), data, learning_rate=0.0)
    logits, values = model.build((3,), 4, "mlp")(data.observations)
    log_ratios = (model.log_prob(logits, data.actions) - data.old_log_probs).numpy()
    ratios = np.exp(log_ratios)
    kl = ratios - 1 - log_ratios
    for got, expected in (
        (result.means["ratio"], ratios.mean()),
        (result.means["approx_kl"], kl.mean()),
        (result.means["clip_fraction"], (np.abs(ratios - 1) > 0.1).mean()),
        (result.means["value_loss"], np.mean((values - data.returns) ** 2) / 2),
        (result.maxima["ratio"], ratios.max()),
        (result.maxima["approx_kl"], kl.max()),
    ):
        np.testing.assert_allclose(got, np.full(3, expected), rtol=1e-4)


def test_each_scalar_is_a_mean_a_maximum_or_an_epoch_of_its_statistic():
    def statistics(kl: list[float], ratio: list[float]) -> dict[str, np.ndarray]:
        return {"approx_kl": np.array(kl), "ratio": np.array(ratio)}

    means, maxima = statistics([0.25, 0.75], [1.0, 1.5]), statistics([3.0, 2.0], [9.0, 8.0])
    result = UpdateResult(means, maxima, np.array([4.0, 6.0]), NO_MEMORY, True)
    assert result.scalars() == {
        "train/approx_kl": 0.5,
        "train/ratio": 1.25,
        "train/grad_norm": 5.0,
        "train/approx_kl_max": 0.75,
        "train/ratio_max": 9.0,
        "epochs/approx_kl_1": 0.25,
        "epochs/approx_kl_2": 0.75,
        "epochs/approx_kl_max_1": 3.0,
        "epochs/approx_kl_max_2": 2.0,
        "epochs/ratio_1": 1.0,
        "epochs/ratio_2": 1.5,
        "epochs/ratio_max_1": 9.0,
        "epochs/ratio_max_2": 8.0,
    }


def test_a_rollout_is_flattened_step_by_step():
    steps, envs = 3, 2
    observations = aligned_zeros((steps, envs, 4), np.dtype(np.uint8))
    observations[:] = np.random.default_rng(8).integers(256, size=observations.shape)
    actions = np.arange(steps * envs, dtype=np.int32).reshape(steps, envs)
    floats = [actions.astype(np.float32) + offset for offset in (10, 20, 30, 40)]
    arrays = [observations, actions, *floats]
    for tensor, array in zip(flattened(*arrays), arrays, strict=True):
        assert tensor.dtype == array.dtype
        for t in range(steps):
            for env in range(envs):
                np.testing.assert_array_equal(tensor[t * envs + env], array[t, env])


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_never_applied(poison):
    data = batch(advantage=poison)
    before = model.build((3,), 4, "mlp").get_weights()
    after, result = update(changed(normalize_advantages=False), data)
    assert not result.finite and result.epochs == 1
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_a_loss_that_is_not_finite_is_noticed_though_its_gradient_is():
    data = batch()
    data = data._replace(returns=tf.fill(data.returns.shape, 1e30))
    before = model.build((3,), 4, "mlp").get_weights()
    after, result = update(changed(value_coef=0.0), data)
    assert np.isfinite(result.grad_norms).all() and not result.finite
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_zero_variance_advantages_are_no_fault():
    data = batch(advantage=0.0)
    weights, result = update(PARAMS, data)
    assert result.finite
    assert all(np.isfinite(w).all() for w in weights)


def test_adam_takes_steps_of_the_learning_rate_at_first():
    weight = tf.Variable([1.0, -2.0])
    adam = Adam([weight], epsilon=1e-12)
    adam.apply([tf.constant([1e-3, -50.0])], tf.constant(0.1))
    np.testing.assert_allclose(weight.numpy(), [0.9, -1.9], rtol=1e-5)


def test_smoothed_scale_is_remembered_from_update_to_update():
    net = model.build((3,), 4, "mlp")
    params = changed(value_rescaling="smoothed", value_rescaling_decay=0.5)
    updater = Updater(net, params, 1)
    first = updater.update(batch(), KEY, 1e-9, 0.1, NO_MEMORY)
    # Six minibatches of weights 1, 1/2, 1/4 ... and a policy that hardly moves from uniform.
    assert first.smoothed[1] == pytest.approx(2 - 2**-5)
    assert first.smoothed[0] / first.smoothed[1] == pytest.approx(0.75, abs=1e-3)
    second = updater.update(batch(), KEY, 1e-9, 0.1, first.smoothed)
    assert second.smoothed[1] == pytest.approx(2 - 2**-11)


def test_diagnostics_change_nothing_and_say_whose_gradient_moves_the_trunk():
    net = model.build((3,), 4, "mlp")
    before = net.get_weights()
    diagnosis = Diagnostics(net, PARAMS).measure(batch(), KEY, 0.1, NO_MEMORY)
    assert all((a == b).all() for a, b in zip(before, net.get_weights(), strict=True))
    assert 0 < diagnosis["trunk/value_share"] < 1
    assert -1 <= diagnosis["trunk/value_cosine"] <= 1
    none = Diagnostics(net, changed(value_coef=0.0)).measure(batch(), KEY, 0.1, NO_MEMORY)
    assert none["trunk/value_share"] == 0
    assert none["layers/grad_norm_value"] == 0


def test_dead_units_are_counted():
    net = model.build((84, 84, 4), 6, "a3c")
    bias = net.get_layer("conv2").bias
    bias.assign([-1e6] * 8 + [1e6] * 24)
    pixels = tf.zeros([64, 84, 84, 4], tf.uint8)
    flat = batch()
    data = flat._replace(observations=pixels)
    diagnosis = Diagnostics(net, changed(network="a3c")).measure(data, KEY, 0.1, NO_MEMORY)
    assert diagnosis["layers/dead_conv2"] == 0.25


def test_a_policy_with_a_single_action_is_no_fault():
    data = batch()
    net = model.build((3,), 1, "mlp")
    alone = data._replace(
        actions=tf.zeros_like(data.actions), old_log_probs=tf.zeros_like(data.old_log_probs)
    )
    result = Updater(net, PARAMS, 1).update(alone, KEY, 0.01, 0.1, NO_MEMORY)
    assert result.finite
    assert result.scalars()["train/entropy_loss"] == 0
    assert result.scalars()["train/approx_kl"] == 0
