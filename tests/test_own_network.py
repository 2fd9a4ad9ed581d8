"""A trunk of the user's own, and the sizes of the mlp: training, resume, export, refusals."""

import random
import threading
import time
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from ppo import checkpoint, model, params, train
from ppo.envs.registry import resolved
from ppo.evaluate.agent import load
from ppo.evaluate.export import ExportError, export_run
from ppo.evaluate.portable import portable
from ppo.files import npz
from ppo.nn.bfloat16 import round_weights, rounded
from ppo.nn.own_trunk import seeded
from ppo.nn.preprocessed import in_two
from ppo.params import ParamsError
from ppo.settings import Params
from ppo.settings.fields import BuiltIn, NetworkSettings
from ppo.system.keys import Purpose, seed31
from ppo.telemetry import progress
from ppo.telemetry.diagnostics import Diagnostics
from ppo.trainer import Trainer
from ppo.workers.interface import Workers
from tests.forked import Forked

ROOT = Path(__file__).parents[1]
OWN = "tests.own_network:trunk"
SHORT = {
    "env_id": "CartPole-v1",
    "num_envs": 2,
    "num_steps": 16,
    "num_minibatches": 2,
    "total_steps": 64,
    "seed": 5,
    "threads": 1,
    "video_interval": 0,
    "replay_check_interval": 0,
    "diagnostics_interval": 32,
}


def build(network: str, shape=(4,), seed: int = 1, **settings) -> keras.Model:
    return model.build_model(
        shape, 2, NetworkSettings(network=network, precision="float32", **settings), seed
    )


@pytest.mark.parametrize(
    "changes", [{"network": OWN}, {"network": "mlp", "mlp_sizes": [9]}], ids=str
)
def test_a_run_trains_resumes_and_plays(changes, tmp_path):
    train.run(params.load(SHORT | changes | {"total_steps": 32}), tmp_path)
    train.resume(tmp_path, ["total_steps=64"])
    agent = load(tmp_path)
    assert agent.step == 64 and agent.params.network == changes["network"]
    kernel = checkpoint.load_weights(tmp_path)[0]
    assert kernel.shape == (4, 16 if changes["network"] == OWN else 9)
    twin, seen = portable(agent.policy.network), np.ones((3, 4), np.float32)
    np.testing.assert_allclose(twin(seen)["logits"], agent.policy.network(seen)[0], rtol=1e-6)


def test_sizes_are_of_the_hidden_layers():
    net = build("mlp", mlp_sizes=[5, 7, 3], value_gradient="shared")
    assert [weight.shape for weight in net.get_weights()[:6:2]] == [(4, 5), (5, 7), (7, 3)]


def test_every_choice_of_a_network_is_a_row_of_a_table():
    assert {*model.IMAGE_TRUNKS, *model.FLAT_TRUNKS} == {*get_args(BuiltIn)}


def test_a_network_keeps_its_sizes(tmp_path):
    train.run(params.load(SHORT | {"network": "mlp", "total_steps": 32}), tmp_path)
    with pytest.raises(ParamsError, match="mlp_sizes"):
        train.resume(tmp_path, ["mlp_sizes=[8]"])


def test_initial_weights_follow_from_the_seed_alone():
    random.seed(3)
    before = random.getstate()
    first, same, other = (build(OWN, seed=seed).get_weights() for seed in (1, 1, 2))
    assert random.getstate() == before
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_initial_weights_from_any_generator_follow_from_the_seed_alone():
    np.random.seed(3)
    tf.random.set_seed(3)
    before = np.random.get_state()[1]
    names = ["tests.own_network:drawn"] * 3
    first, same, other = (
        build(name, seed=seed).get_weights()[0] for name, seed in zip(names, (1, 1, 2), strict=True)
    )
    assert (np.random.get_state()[1] == before).all()
    tf.random.set_seed(3)
    assert (first == same).all() and (first != other).any()


def test_runs_in_several_threads_each_have_the_weights_of_their_seed():
    drawn = []

    def draw(seed: int) -> None:
        with seeded(seed):
            time.sleep(0.2)
            drawn.append(random.random())

    threads = [threading.Thread(target=draw, args=[seed]) for seed in (1, 2)]
    before = random.getstate()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(drawn) == {random.Random(1).random(), random.Random(2).random()}
    assert random.getstate() == before


def test_a_value_network_of_its_own_has_the_same_layers_and_other_weights():
    net = build(OWN, value_gradient="separate")
    layers = model.weighted_layers(net)
    assert {*layers} >= {"first", "second", "last", "value_first", "value_second", "value_last"}
    assert [layer.name for layer in model.policy_trunk(net)] == ["first", "second", "last"]
    assert not np.array_equal(layers["first"][0], layers["value_first"][0])


def test_a_value_network_of_its_own_begins_with_the_weights_that_the_user_loads():
    net = build("tests.own_network:loaded", value_gradient="separate")
    kernel, bias = net.get_layer("value_loaded").get_weights()
    assert (kernel == 0.5).all() and (bias == 1).all()


@pytest.mark.parametrize("trunk", ["frozen", "in_sequence", "recurrent"])
def test_a_policy_in_bfloat16_gives_the_same_bits(trunk):
    net = build(f"tests.own_network:{trunk}", value_gradient="separate")
    twin, seen = rounded(net), np.ones((3, 4), np.float32)
    round_weights(net, twin)
    logits = net(seen)[0].numpy()
    assert logits.any() and np.array_equal(twin(seen)[0], logits)


def test_weights_that_no_gradient_reaches_stay(tmp_path):
    train.run(params.load(SHORT | {"network": "tests.own_network:cut"}), tmp_path)
    begun = build("tests.own_network:cut", seed=seed31(SHORT["seed"], Purpose.NETWORK))
    for name, stays in (("cut", True), ("policy", False)):
        before, after = (net.get_layer(name) for net in (begun, load(tmp_path).policy.network))
        assert np.array_equal(before.get_weights()[0], after.get_weights()[0]) == stays


def test_a_model_of_its_own_class_may_be_a_layer():
    net = build("tests.own_network:subclass")
    Diagnostics(net, Params(network="tests.own_network:subclass"))
    assert {"encoder", "last"} <= {*model.weighted_layers(net)}


def test_layers_without_a_name_have_the_same_names_in_each_network():
    names = [{*model.weighted_layers(build("tests.own_network:frozen"))} for _ in range(2)]
    assert names == [{"batch_normalization", "dense_1", "policy", "value"}] * 2
    build("tests.own_network:in_sums"), build("tests.own_network:in_sums")


def test_a_layer_may_have_several_outputs(tmp_path):
    train.run(params.load(SHORT | {"network": "tests.own_network:with_state"}), tmp_path)
    assert "layers/dead_gru" in progress.numbers(tmp_path)[-1]


def test_a_layer_from_outside_the_function_is_refused_before_a_run_is_created(tmp_path):
    with pytest.raises(ParamsError, match="contains outside, a layer that was called elsewhere"):
        train.run(params.load(SHORT | {"network": "tests.own_network:outside"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_worker_begins_with_the_weights_of_the_first():
    settings = resolved(params.load(SHORT | {"network": "tests.own_network:unseeded"}))
    sent = Trainer(settings).model.get_weights()

    class Second(Workers):
        index = 1

        def broadcast(self, data: bytes) -> bytes:
            return npz.pack({str(number): array for number, array in enumerate(sent)})

    kernel, *_ = Trainer(settings, Second()).model.get_weights()
    assert np.array_equal(kernel, sent[0])


def test_an_export_computes_in_float32_also_in_a_sequential():
    twin = portable(build("tests.own_network:in_sequence"))
    (sequence,) = (layer for layer in twin.layers if isinstance(layer, keras.Sequential))
    assert {layer.compute_dtype for layer in sequence.layers} == {"float32"}


def test_an_export_keeps_the_types_of_operations():
    net, seen = build("tests.own_network:truncating"), np.full((3, 4), 0.7, np.float32)
    np.testing.assert_allclose(portable(net)(seen)["logits"], net(seen)[0], rtol=1e-6)


def test_a_network_that_cannot_be_copied_is_not_exported(tmp_path):
    train.run(params.load(SHORT | {"network": "tests.own_network:nameless"}), tmp_path / "run")
    with pytest.raises(ExportError, match="own_network:nameless has a layer that Keras cannot"):
        export_run(tmp_path / "run", str(tmp_path / "network.keras"))


def test_images_come_as_bytes():
    net = build("tests.own_network:pictures", (48, 48, 1))
    logits, values = net(np.full((3, 48, 48, 1), 255, np.uint8))
    assert net.input.dtype == "uint8" and logits.shape == (3, 2) and values.shape == (3,)
    Diagnostics(net, Params(network="tests.own_network:pictures"))  # which takes its last layer


def test_weights_of_the_user_are_no_preparation():
    """Their layer's name may be equal to the name of the layer that prepares images."""
    net = build("tests.own_network:pictures", (48, 48, 1))
    assert "pixels" in model.weighted_layers(net) and in_two(net) == (None, net)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("without_dense", "its last layer with trainable weights must be a keras.layers.Dense"),
        ("reserved", "a layer whose name begins with value_"),
        ("ambiguous", "a layer with weights whose name begins with max_"),
        ("pictures", r"must take observations \[B, 4\], and failed: ValueError: "),
        ("failing", "failed: RuntimeError: no memory for this$"),
        ("ending", "failed: SystemExit: 0$"),
        ("in_a_list", r"must give features \[B, D\]"),
        ("per_position", r"whose output is \[B, units\]"),
        ("half", "has weights in float16; they must be float32"),
        ("frozen_whole", "its last layer with trainable weights must be a keras.layers.Dense"),
        (
            "in_two",
            "contains encoder, a layer that was called elsewhere or a functional",
        ),
        ("used_before", "contains used, a layer that was called elsewhere"),
        ("in_bfloat16", "failed: TypeError: Unable to revive model from config"),
        ("absent", "failed: AttributeError: .*absent"),
        ("trunks", "failed: TypeError: "),
    ],
)
def test_a_function_that_gives_no_trunk_is_refused(function, reason):
    with pytest.raises(ValueError, match=reason):
        build(f"tests.own_network:{function}")


def test_nothing_is_created_for_a_network_that_cannot_be_built(tmp_path):
    with pytest.raises(ParamsError, match="No module named 'absent_module'"):
        train.run(params.load(SHORT | {"network": "absent_module:trunk"}), tmp_path / "run")
    assert not (tmp_path / "run" / "params.json").exists()


def test_command_takes_a_function(tmp_path):
    sets = [
        f"--set={key}={value}"
        for key, value in (SHORT | {"network": OWN}).items()
        if key != "env_id"
    ]
    with Forked([f"--logdir={tmp_path / 'run'}", "--env=CartPole-v1", *sets], ROOT) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
