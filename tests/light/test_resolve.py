"""What is chosen for settings that were left open."""

import pytest

from ppo.envs import registry
from ppo.settings import Params
from ppo.system import device


@pytest.mark.parametrize(
    ("maker", "flags", "found", "faster"),
    [
        ("AuthenticAMD", "avx512f avx512_bf16 xsaves", True, True),
        ("GenuineIntel", "avx512f avx512_bf16 xsaves", True, False),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", True, True),
        ("AuthenticAMD", "avx512f avx512_bf16_of_another", False, False),
        ("AuthenticAMD", "", False, False),
    ],
)
def test_a_processor_says_whether_it_has_bfloat16_and_its_maker_whether_that_pays(
    maker, flags, found, faster, monkeypatch, tmp_path
):
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {maker}\nflags\t: fpu {flags}\n")
    monkeypatch.setattr(device, "CPU_INFO", tmp_path / "cpuinfo")
    assert device.processor_has_bfloat16() == found
    assert device.bfloat16_is_faster() == faster


def test_a_system_that_does_not_say_has_none(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "CPU_INFO", tmp_path / "none")
    assert not device.processor_has_bfloat16() and not device.bfloat16_is_faster()


@pytest.mark.parametrize(
    ("is_faster", "has_gpu", "network", "chosen"),
    [
        (True, False, "a3c", "bfloat16"),
        (False, False, "a3c", "float32"),
        (True, False, "mlp", "float32"),
        (True, True, "a3c", "float32"),
    ],
)
def test_precision_suits_processor_and_network(
    is_faster, has_gpu, network, chosen, monkeypatch, tmp_path
):
    monkeypatch.setattr(device, "bfloat16_is_faster", lambda: is_faster)
    driver = tmp_path / "nvidia"
    monkeypatch.setattr(device, "GPU_DRIVER", driver)
    if has_gpu:
        driver.mkdir()
    env_id = "CartPole-v1" if network == "mlp" else "PongNoFrameskip-v4"
    params = Params(env_id=env_id, network=network, precision="auto")
    assert registry.resolved(params).precision == chosen


@pytest.mark.parametrize(
    ("precision", "has_it", "has_gpu", "reported"),
    [
        ("bfloat16", False, False, True),
        ("bfloat16", True, False, False),
        ("bfloat16", False, True, False),
        ("float32", False, False, False),
    ],
)
def test_a_precision_that_is_emulated_is_reported(
    precision, has_it, has_gpu, reported, monkeypatch
):
    monkeypatch.setattr(device, "processor_has_bfloat16", lambda: has_it)
    monkeypatch.setattr(device, "has_gpu_driver", lambda: has_gpu)
    params = registry.resolved(Params(env_id="PongNoFrameskip-v4", precision=precision))
    remark = device.precision_remark(params.precision)
    assert (remark is not None and "--set precision=float32" in remark) == reported


@pytest.mark.parametrize(
    ("driver", "visible", "found", "reported"),
    [
        (True, ["0"], False, True),
        (True, ["0"], True, False),
        (True, [], False, False),  # the user hides it
        (False, ["0"], False, False),
    ],
)
def test_a_gpu_that_is_not_used_is_reported(driver, visible, found, reported, monkeypatch):
    monkeypatch.setattr(device, "has_gpu_driver", lambda: driver)
    monkeypatch.setattr(device, "visible_gpus", lambda: visible)
    monkeypatch.setattr(device, "has_gpu", lambda: found)
    remark = device.gpu_remark()
    assert (remark is not None and "tensorflow[and-cuda]" in remark) == reported


@pytest.mark.parametrize("given", [None, True, False])
@pytest.mark.parametrize(("env_id", "network"), [("Breakout", "a3c"), ("CartPole-v1", "mlp")])
def test_rewards_are_clipped_in_atari_games_unless_the_settings_differ(env_id, network, given):
    params = registry.resolved(Params(env_id=env_id, network=network, clip_rewards=given))
    assert params.clip_rewards == (env_id == "Breakout" if given is None else given)


@pytest.mark.parametrize(
    ("network", "given", "chosen"),
    [("a3c", None, "shared"), ("mlp", None, "separate"), ("mlp", "shared", "shared")],
)
def test_the_value_has_a_network_of_its_own_for_flat_observations(network, given, chosen):
    env_id = "CartPole-v1" if network == "mlp" else "Pong"
    params = registry.resolved(Params(env_id=env_id, network=network, value_gradient=given))
    assert params.value_gradient == chosen
