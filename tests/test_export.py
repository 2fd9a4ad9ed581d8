"""A network outside the package: of Keras's own layers, the same actions, played by the example."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import exported
from ppo import model
from ppo.evaluate import export
from ppo.evaluate.agent import TrainedAgent, load
from ppo.evaluate.portable import portable
from ppo.replay.replay import Replay

ROOT = Path(__file__).resolve().parent.parent
PONG = ROOT / "pretrained" / "pong"


def pictures(rng: np.random.Generator) -> np.ndarray:
    """Noise, a black picture, and one whose deviation is below a level of brightness."""
    nearly_even = np.full((84, 84, 4), 100, np.uint8)
    nearly_even[0] += 1
    noise = rng.integers(0, 256, (2, 84, 84, 4)).astype(np.uint8)
    return np.array([*noise, np.zeros_like(nearly_even), nearly_even])


def of_own_layers(network) -> bool:
    """By what Keras writes down of it."""
    kinds = re.findall(r'"(?:module|registered_name)": "([^"]+)"', network.to_json())
    return bool(kinds) and not [kind for kind in kinds if "ppo" in kind]


@pytest.mark.parametrize("scaling", ["unit", "centered", "standardized"])
@pytest.mark.parametrize(
    ("network", "value_gradient"),
    [("nature", "shared"), ("a3c", "detached"), ("a3c", "separate"), ("impala", "shared")],
)
def test_portable_network_is_the_same_function_of_images(network, value_gradient, scaling):
    ours = model.build((84, 84, 4), 6, network, 3, "float32", scaling, value_gradient)
    theirs = portable(ours)
    seen = pictures(np.random.default_rng(0))
    logits, values = ours(seen)
    outputs = theirs(seen)
    # The deviation of a nearly even picture is all rounding; more layers blow it up further.
    rough = 10 if network == "impala" else 1
    np.testing.assert_allclose(outputs["logits"], logits, atol=5e-5 * rough)
    np.testing.assert_allclose(outputs["value"], values, rtol=1e-3 * rough, atol=1e-3)
    assert of_own_layers(theirs)
    assert not of_own_layers(ours)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("network", "value_gradient"),
    [("a3c", "separate"), ("a3c", "detached"), ("impala", "shared"), ("mlp", "shared")],
)
def test_portable_network_has_the_layer_norm(network, value_gradient, precision):
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(5, 4)).astype(np.float32) if network == "mlp" else pictures(rng)
    kind = {"value_gradient": value_gradient, "layer_norm": True}
    ours, full = (
        model.build(seen.shape[1:], 6, network, 3, p, **kind) for p in (precision, "float32")
    )
    weights = [w + rng.normal(0, 0.02, w.shape) for w in ours.get_weights()]
    for net in (ours, full):
        net.set_weights(weights)
    theirs = portable(ours)
    np.testing.assert_allclose(theirs(seen)["logits"], full(seen)[0], atol=1e-4)
    np.testing.assert_allclose(theirs(seen)["value"], full(seen)[1], atol=1e-4)
    assert of_own_layers(theirs)
    assert "bfloat16" not in theirs.to_json()


def test_portable_network_of_flat_observations_is_the_same_function():
    ours = model.build((4,), 2, "mlp", 1)
    seen = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(portable(ours)(seen)["value"], ours(seen)[1], atol=1e-6)


def test_portable_network_computes_in_float32_whatever_the_precision():
    ours = model.build((84, 84, 4), 6, "a3c", 3, "bfloat16", "standardized")
    full = model.build((84, 84, 4), 6, "a3c", 3, "float32", "standardized")
    theirs, seen = portable(ours), pictures(np.random.default_rng(0))
    np.testing.assert_allclose(theirs(seen)["logits"], full(seen)[0], atol=5e-5)
    assert "bfloat16" not in theirs.to_json()


@pytest.fixture(scope="module")
def agent() -> TrainedAgent:
    """The included one, in games that end early."""
    found = load(PONG)
    short = found.params.model_copy(update={"max_frames_per_game": 1600})
    return TrainedAgent(short, found.step, found.policy)


@pytest.fixture(scope="module")
def game(agent) -> Replay:
    """One of its games."""
    return next(exported.games_of(agent))


@pytest.fixture(scope="module")
def seen(game) -> np.ndarray:
    """What the agent saw in it."""
    return np.array(list(exported.observations_of(game)))


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """Of the included agent."""
    return export.export_run(PONG, str(tmp_path_factory.mktemp("network") / "pong.keras"))


def test_observations_of_a_replay_match_its_game(agent, game, seen):
    assert len(seen) == len(game.actions) > 300
    likeliest = agent.policy.network(seen)[0].numpy().argmax(1)
    assert (likeliest == game.actions).mean() > 0.5


def test_exported_network_acts_the_same_in_a_process_without_the_package(agent, seen, network):
    result = exported.compared(agent, network, seen)
    assert result["same_actions"] == result["observations"] == len(seen)
    assert result["values_differ_by"] < 1e-4


def test_export_leaves_one_file(network):
    assert [path.name for path in network.parent.iterdir()] == ["pong.keras"]


def test_saved_model_acts_the_same(agent, seen, tmp_path, capsys):
    export.export_run(PONG, f"{tmp_path}/pong/")
    (line,) = capsys.readouterr().out.splitlines()
    assert "step 2,000,896, for uint8 observations [n, 84, 84, 4]" in line
    assert [path.name for path in tmp_path.iterdir()] == ["pong"]
    serve = tf.saved_model.load(str(tmp_path / "pong")).signatures["serving_default"]
    logits = serve(observations=tf.constant(seen[:100]))["logits"].numpy()
    ours = agent.policy.network(seen[:100])[0].numpy()
    assert (logits.argmax(1) == ours.argmax(1)).all()


def test_exporter_that_fails_leaves_nothing_and_says_what_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "WRITE_ONNX", ())
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(export.ExportError, match=r"agent.onnx could not be written: .*onnx"):
        export.export_run(PONG, str(tmp_path / "agent.onnx"))
    assert not list(tmp_path.iterdir())


def test_example_plays_the_exported_network_with_gymnasium_alone(network, tmp_path):
    script = tmp_path / "play.py"
    script.write_text((ROOT / "examples" / "play.py").read_text())
    command = [sys.executable, "-I", script, network, "PongNoFrameskip-v4", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert 15 < float(done.stdout.split("game 1: ")[1]) <= 21


def test_example_without_a_network_says_so(tmp_path):
    command = [
        sys.executable,
        ROOT / "examples" / "play.py",
        tmp_path / "absent.keras",
        "Pong",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and "File not found" in done.stderr.splitlines()[-1]


def test_example_does_not_know_the_package():
    source = (ROOT / "examples" / "play.py").read_text()
    assert not re.search(r"^(import|from) ppo", source, re.MULTILINE)
    assert len(source.splitlines()) < 35


def test_command_exports(tmp_path):
    import run_atari

    target = tmp_path / "agent.keras"
    assert run_atari.main(["--logdir", str(PONG), "--export", str(target)]) == 0
    assert target.stat().st_size > 1_000_000
    assert run_atari.main(["--logdir", str(PONG), "--export", str(target)]) == 2
