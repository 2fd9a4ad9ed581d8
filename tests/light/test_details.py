"""The table of the implementation details, beside the page that describes them."""

import re
from pathlib import Path

import pytest

from ppo.params import load
from ppo.preflight.details import NONE, OFF, ON, details
from ppo.settings import Params

ROOT = Path(__file__).resolve().parents[2]


PAPER = load("baselines").model_dump()


def of(is_atari: bool = True, **settings):
    params = Params(**(PAPER | settings)).resolved(1, 1, 0.0, "float32")
    groups = details(params, is_atari)
    return {detail.name: detail for group in groups.values() for detail in group}


def test_names_match_the_page_in_its_order():
    page = (ROOT / "docs" / "algorithm.md").read_text()
    section = page.split("## 2.")[1].split("## 3.")[0]
    names = [name.rstrip(".") for name in re.findall(r"^\d+\. \*([^*]+)\*", section, re.MULTILINE)]
    assert len(names) == 22
    assert [*of()] == names


def test_with_the_settings_of_baselines_all_are_on():
    assert [name for name, found in of().items() if found.state != ON] == []


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Vectorised envs", {"num_envs": 1}),
        ("Adam's epsilon", {"adam_epsilon": 1e-8}),
        ("Annealed learning rate", {"learning_rate_schedule": "constant"}),
        ("Minibatches", {"num_minibatches": 1}),
        ("Normalised advantages", {"normalize_advantages": False}),
        ("Clipped surrogate", {"quadratic_policy_loss": True}),
        ("Clipped surrogate", {"peaked_policy_loss": True}),
        ("Clipped surrogate", {"delta_target_policy": "logit"}),
        ("One loss with an entropy bonus", {"entropy_coef": 0.0}),
        ("No-ops", {"noop_max": 1}),
        ("Repeat and maximum", {"frame_skip": 1}),
        ("A lost life ends the return", {"terminal_on_life_loss": False}),
        ("FIRE at the beginning and after a lost life", {"fire_on_life_loss": False}),
        ("Grey 84 x 84", {"screen_size": 64}),
        ("Sign of the reward", {"clip_rewards": False}),
        ("Stack of the 4 latest frames", {"frame_stack": 2}),
        ("Shared Nature network", {"network": "a3c"}),
        ("Shared Nature network", {"layer_norm": True}),
        ("Shared Nature network", {"network_width": 2}),
        ("Pixels in [0, 1]", {"picture_scaling": "standardized"}),
    ],
)
def test_setting_turns_one_detail_off(name, settings):
    before, after = of(), of(**settings)
    assert {n for n in after if after[n].state != before[n].state} == {name}
    assert after[name].state == OFF


def test_networks_of_their_own_are_shared_in_no_sense():
    off = {name for name, found in of(value_gradient="separate").items() if found.state == OFF}
    assert off >= {"Shared or separate networks", "Shared Nature network"}


def test_clip_of_the_value_is_on_when_it_is_set():
    assert of(value_clip_range=0.1)["Clipped value loss"].state == ON


def test_outside_atari_there_is_no_emulator_and_no_image():
    found = of(is_atari=False, network="mlp", env_id="CartPole-v1")
    assert [name for name, detail in found.items() if detail.state == NONE] == [
        "No-ops",
        "Repeat and maximum",
        "A lost life ends the return",
        "FIRE at the beginning and after a lost life",
        "Grey 84 x 84",
        "Stack of the 4 latest frames",
        "Pixels in [0, 1]",
    ]
