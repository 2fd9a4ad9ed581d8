import functools
import json
import math
import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ppo import train
from ppo.envs import factories
from ppo.envs.registry import FLAT, LONG, settings_for
from ppo.params import ParamsError, load, load_run, with_workers
from ppo.runs.changes import compare_settings
from ppo.settings import CHOSEN_AT_START, INCIDENTAL, Params, ResolvedParams, describe, marked
from ppo.settings.fields import GROUPS

QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "params-file.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def faults_of(folder: Path, content: str | bytes, *overrides: str) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        load(written(folder, content), overrides)
    return caught.value.faults


def only_fault(folder: Path, content: str | bytes, *overrides: str) -> str:
    faults = faults_of(folder, content, *overrides)
    assert len(faults) == 1, faults
    return faults[0]


# --- defaults, as the design's table states them


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("env_id", "PongNoFrameskip-v4"),
        ("num_envs", 16),
        ("frame_skip", 4),
        ("frame_stack", 4),
        ("screen_size", 84),
        ("sticky_action_probability", None),
        ("noop_max", 30),
        ("terminal_on_life_loss", True),
        ("clip_rewards", None),
        ("fire_on_reset", True),
        ("full_action_space", False),
        ("max_frames_per_game", 108_000),
        ("total_steps", 10_000_000),
        ("num_steps", 128),
        ("num_epochs", 6),
        ("num_minibatches", 8),
        ("adam_beta_1", 0.9),
        ("adam_beta_2", 0.999),
        ("target_kl_if_improved", False),
        ("adam_reset", False),
        ("advantage_std_floor", 0.0),
        ("minibatch_kl_limit", None),
        ("feature_drift_coef", 0.0),
        ("value_gradient", None),
        ("learning_rate", 4e-4),
        ("learning_rate_schedule", "linear"),
        ("adam_epsilon", 1e-5),
        ("max_grad_norm", 0.5),
        ("gamma", 0.99),
        ("gae_lambda", 0.95),
        ("normalize_advantages", True),
        ("target_kl", None),
        ("stop_at_score", None),
        ("clip_range", 0.2),
        ("clip_range_schedule", "constant"),
        ("entropy_coef", 0.01),
        ("value_coef", 0.5),
        ("value_clip_range", None),
        ("network", "nature"),
        ("picture_scaling", "unit"),
        ("seed", None),
        ("threads", None),
    ],
)
def test_default_is_the_one_that_is_known_to_work(tmp_path, key, default):
    value = getattr(load(written(tmp_path, "{}")), key)
    assert value == default and type(value) is type(default)


@pytest.mark.parametrize(
    "key",
    [
        "clip_range_schedule",
        "log_interval",
        "checkpoint_interval",
        "checkpoints_kept",
        "evaluation_interval",
        "evaluation_games",
        "video_interval",
    ],
)
def test_key_of_the_design_without_a_stated_default_exists(key):
    assert key in Params.model_fields


def test_every_setting_has_a_default_and_a_meaning():
    for key, field in Params.model_fields.items():
        assert not field.is_required(), key
        assert field.description, key


def test_defaults_keep_their_own_rules():
    assert Params(**Params().model_dump()) == Params()


# --- what is accepted


def test_file_gives_its_values_and_the_defaults_of_the_rest(tmp_path):
    params = load(written(tmp_path, '{"num_envs": 16, "network": "a3c"}'))
    assert (params.num_envs, params.network, params.num_steps) == (16, "a3c", 128)


def test_schema_is_allowed_and_is_no_setting(tmp_path):
    params = load(written(tmp_path, '{"$schema": "x.json", "gamma": 0.5}'))
    assert params.gamma == 0.5
    assert "$schema" not in json.loads(params.to_json())


def test_byte_order_mark_is_allowed(tmp_path):
    assert load(written(tmp_path, b'\xef\xbb\xbf{"gamma": 0.5}')).gamma == 0.5


def test_whole_number_is_a_float_too(tmp_path):
    assert load(written(tmp_path, '{"gamma": 1}')).gamma == 1.0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_envs", 1),
        ("num_envs", 1024),
        ("clip_range", 0.999),
        ("gamma", 0.0),
        ("gamma", 1.0),
        ("seed", 0),
        ("seed", 2**31 - 1),
        ("sticky_action_probability", 0.0),
        ("sticky_action_probability", None),
        ("learning_rate", 1.0),
        ("evaluation_interval", 0),
    ],
)
def test_end_of_a_range_belongs_to_it(tmp_path, key, value):
    assert getattr(load(written(tmp_path, json.dumps({key: value}))), key) == value


# --- single faults, each with what to do


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_envs", 0),
        ("num_envs", 1025),
        ("clip_range", 0),
        ("clip_range", 1),
        ("clip_range", 1.5),
        ("gamma", -0.001),
        ("gamma", 1.001),
        ("seed", -1),
        ("seed", 2**31),
        ("sticky_action_probability", 1),
        ("learning_rate", 0),
        ("target_kl", 0),
        ("max_grad_norm", -1),
        ("total_steps", 0),
        ("frame_stack", 0),
        ("checkpoints_kept", 0),
        ("evaluation_interval", -1),
        ("network", "NATURE"),
        ("learning_rate_schedule", "cosine"),
    ],
)
def test_value_out_of_range_is_refused_with_range_and_default(tmp_path, key, value):
    fault = only_fault(tmp_path, json.dumps({key: value}))
    assert fault.startswith(f"{key} = {json.dumps(value)}: must be ")
    assert f"(default {json.dumps(Params.model_fields[key].default)})" in fault


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_envs", "8"),
        ("num_envs", 8.5),
        ("num_envs", True),
        ("num_envs", None),
        ("num_envs", [8]),
        ("num_envs", {"n": 8}),
        ("gamma", "0.99"),
        ("gamma", False),
        ("gamma", None),
        ("clip_rewards", 1),
        ("clip_rewards", "true"),
        ("env_id", 5),
        ("env_id", None),
        ("network", None),
        ("seed", True),
        ("seed", 1.5),
        ("target_kl", True),
        ("stop_at_score", "18"),
    ],
)
def test_wrong_type_is_refused_with_the_right_one(tmp_path, key, value):
    fault = only_fault(tmp_path, json.dumps({key: value}))
    assert fault.startswith(f"{key} = {json.dumps(value)}: must be ")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("num_envs", "int, at least 1, at most 1024"),
        ("clip_range", "float, above 0, below 1"),
        ("clip_rewards", "true or false, or null"),
        ("fire_on_reset", "true or false"),
        ("network", '"nature" or "a3c" or "impala" or "mlp" or "MODULE:FUNCTION"'),
        ("sticky_action_probability", "float, at least 0, below 1, or null"),
        ("seed", "int, at least 0, below 2147483648, or null"),
    ],
)
def test_fault_says_in_words_what_the_setting_may_be(tmp_path, key, words):
    assert f"must be {words} (" in only_fault(tmp_path, json.dumps({key: {}}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
@pytest.mark.parametrize("key", ["gamma", "max_grad_norm", "stop_at_score", "target_kl"])
def test_number_that_is_not_finite_is_refused(tmp_path, key, number):
    only_fault(tmp_path, f'{{"{key}": {number}}}')
    only_fault(tmp_path, "{}", f"{key}={number}")


@pytest.mark.parametrize(
    "key",
    [
        *("num_envs", "gamma", "max_grad_norm", "stop_at_score", "seed", "checkpoints_kept"),
        *(key for key in Params.model_fields if key.endswith("_interval")),
        *("keep_checkpoints_from", "keep_checkpoints_to"),
    ],
)
@pytest.mark.parametrize("digits", [400, 4000, 5000])
def test_huge_integer_is_refused(tmp_path, key, digits):
    only_fault(tmp_path, f'{{"{key}": {"1" * digits}}}')
    fault = only_fault(tmp_path, "{}", f"{key}={'1' * digits}")
    assert digits < 5000 or fault == f"{key}: a number has 5,000 digits"


def test_long_value_is_shown_short(tmp_path):
    assert len(only_fault(tmp_path, json.dumps({"network": "x" * 10_000}))) < 200


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [("learing_rate", "learning_rate"), ("num_envss", "num_envs"), ("Gamma", "gamma")],
)
def test_unknown_key_is_refused_with_the_nearest_name(tmp_path, typed, nearest):
    fault = only_fault(tmp_path, json.dumps({typed: 1}))
    assert typed in fault and f"did you mean {nearest}?" in fault


def test_unknown_key_like_no_other_is_sent_to_the_list(tmp_path):
    assert "--describe-params" in only_fault(tmp_path, '{"zzzzzzzzqqqqqq": 1}')


def test_fault_about_half_a_character_can_still_be_printed(tmp_path):
    only_fault(tmp_path, r'{"\ud800": 1}').encode()


@pytest.mark.parametrize("text", ["1e6", "1000000.0", "1000000"])
def test_whole_numbers_may_be_written_as_floats(tmp_path, text):
    of_file = load(written(tmp_path, f'{{"total_steps": {text}, "seed": 3.0}}'))
    of_command = load(written(tmp_path, "{}"), [f"total_steps={text}", "seed=3"])
    assert of_file == of_command and of_file.total_steps == 10**6
    assert type(of_file.total_steps) is type(of_file.seed) is int


def test_an_atari_id_alone_has_the_defaults_and_flat_observations_have_their_own():
    assert load(settings_for("Breakout")) == Params(env_id="Breakout")
    changed = load(settings_for("CartPole-v1"), ["num_envs=4", "total_steps=7"])
    assert (changed.network, changed.num_envs, changed.total_steps) == ("mlp", 4, 7)
    assert FLAT.items() <= dict(load(settings_for("CartPole-v1"))).items()


@pytest.mark.parametrize(("limit", "own"), [(999, {}), (1000, LONG), (None, {})])
def test_long_episodes_have_settings_of_their_own(limit, own):
    entry = gymnasium.spec("CartPole-v1").entry_point
    gymnasium.register(f"Cart{limit}-v0", entry, max_episode_steps=limit)
    assert settings_for(f"Cart{limit}-v0") == {"env_id": f"Cart{limit}-v0"} | FLAT | own


def test_derived_size_is_no_setting(tmp_path):
    for key in ("batch_size", "minibatch_size", "num_iterations"):
        assert key in only_fault(tmp_path, json.dumps({key: 64}))


@pytest.mark.parametrize(
    "text", ['{"gamma": 0.5, "gamma": 0.6}', '{"gamma": 0.5, "gamma": 0.5}', '{"x": 1, "x": 2}']
)
def test_duplicate_key_is_refused(tmp_path, text):
    name = json.dumps(text.split('"')[1])
    assert f"duplicate key {name}; keep one of them" in faults_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{"gamma": 0.5,}', 1, 15),
        ('{\n  "gamma": 0.5\n  "seed": 1\n}', 3, 3),
        ("", 1, 1),
        ('{"gamma": 0.5', 1, 14),
        ("{'gamma': 0.5}", 1, 2),
        ('{"gamma": 0.5} x', 1, 16),
    ],
)
def test_broken_json_is_refused_with_line_and_column(tmp_path, text, line, column):
    fault = only_fault(tmp_path, text)
    assert "params-file.json" in fault
    part = re.search(r"line (\d+), column (\d+)", fault)
    assert part and int(part[1]) == line
    # Which column of a trailing comma is named differs between versions of Python.
    assert abs(int(part[2]) - column) <= 1


@pytest.mark.parametrize("text", ["[]", "[1]", '"Pong"', "5", "null", "true"])
def test_json_that_is_no_object_is_refused(tmp_path, text):
    assert "one JSON object" in only_fault(tmp_path, text)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_deep_nesting_is_refused(tmp_path, opening):
    only_fault(tmp_path, opening * 100_000)
    only_fault(tmp_path, f'{{"gamma": {"[" * 100_000}')
    only_fault(tmp_path, "{}", f"gamma={opening * 100_000}")


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b'{"env_id": "\xe9"}', b"\x80"])
def test_invalid_utf8_is_refused(tmp_path, content):
    assert "cannot be read" in only_fault(tmp_path, content)


@pytest.mark.parametrize("name", ["absent.json", "folder", "file/below", "nul\0byte", "x" * 5000])
def test_path_that_is_no_readable_file_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("{}")
    with pytest.raises(ParamsError, match="cannot be read") as caught:
        load(tmp_path / name)
    assert len(caught.value.faults) == 1


# --- faults between settings


def test_batch_that_minibatches_do_not_divide_is_refused_with_the_arithmetic(tmp_path):
    fault = only_fault(tmp_path, '{"num_envs": 3, "num_steps": 10, "num_minibatches": 4}')
    for part in ("num_minibatches = 4", "num_envs 3 x num_steps 10 = 30 steps", "4 equal"):
        assert part in fault
    suggested = re.search(r"such as (\d+)", fault)
    assert suggested and 30 % int(suggested[1]) == 0


def test_more_minibatches_than_steps_are_refused(tmp_path):
    only_fault(tmp_path, '{"num_envs": 1, "num_steps": 2, "num_minibatches": 4}')


def test_minibatch_of_one_step_is_refused_with_normalised_advantages(tmp_path):
    one_step = {"num_envs": 2, "num_steps": 4, "num_minibatches": 8}
    assert "normalize_advantages" in only_fault(tmp_path, json.dumps(one_step))
    load(written(tmp_path, json.dumps(one_step | {"normalize_advantages": False})))
    load(written(tmp_path, json.dumps(one_step | {"num_minibatches": 4})))


def test_settings_are_checked_against_each_other_though_another_failed(tmp_path):
    faults = faults_of(
        tmp_path,
        '{"num_envs": 3, "num_steps": 10, "num_minibatches": 4, "gamma": 2, "colour": "red"}',
    )
    assert len(faults) == 3
    assert any("4 equal minibatches" in fault for fault in faults)


@pytest.mark.parametrize("bad", ["num_envs", "num_steps", "num_minibatches"])
def test_no_arithmetic_is_done_with_a_bad_member(tmp_path, bad):
    sizes = {"num_envs": 3, "num_steps": 10, "num_minibatches": 4} | {bad: 0}
    assert only_fault(tmp_path, json.dumps(sizes)).startswith(f"{bad} = 0")


def test_further_checks_see_sound_settings_and_the_bad_keys(tmp_path):
    seen = []

    def check(params, bad):
        seen.append((params.num_envs, params.gamma, set(bad)))
        return ["a fault from another room"]

    with pytest.raises(ParamsError) as caught:
        load(written(tmp_path, '{"num_envs": 3, "gamma": 7}'), ["num_steps=8"], [check])
    assert seen == [(3, 0.99, {"gamma"})]
    assert len(caught.value.faults) == 2
    assert "a fault from another room" in caught.value.faults


# --- all at once

MANY_FAULTS = {
    "learing_rate": ("1", "learning_rate"),
    "num_envs": ("true", "num_envs = true"),
    "seed": ("1.5", "seed = 1.5"),
    "gamma": ("1e400", "gamma ="),
    "entropy_coef": ("-1", "entropy_coef = -1"),
    "network": ('"resnet"', "network ="),
    "env_id": ("[]", "env_id = []"),
    "clip_range": (f"{10**300}", "clip_range ="),
}


def test_a_floor_under_advantages_that_are_not_normalised_is_refused(tmp_path):
    both = {"normalize_advantages": False, "advantage_std_floor": 0.1}
    assert only_fault(tmp_path, json.dumps(both)).startswith("advantage_std_floor = 0.1: ")
    load(written(tmp_path, json.dumps({"advantage_std_floor": 0.1})))


def test_a_condition_of_an_early_stop_that_is_off_is_refused(tmp_path):
    assert "target_kl" in only_fault(tmp_path, json.dumps({"target_kl_if_improved": True}))
    load(written(tmp_path, json.dumps({"target_kl_if_improved": True, "target_kl": 0.05})))


def test_checkpoints_that_would_not_be_kept_are_refused(tmp_path):
    assert "set both" in only_fault(tmp_path, json.dumps({"keep_checkpoints_to": 9}))
    both = {"keep_checkpoints_from": 9, "keep_checkpoints_to": 8}
    assert "swap them" in only_fault(tmp_path, json.dumps(both))
    begun = written(tmp_path, json.dumps(both))
    load_run(begun)  # a run that began before this was refused
    with pytest.raises(ParamsError, match="swap them"):
        load_run(begun, ["keep_checkpoints_to=7"])
    load(written(tmp_path, json.dumps(both | {"keep_checkpoints_to": 9})))


@pytest.mark.parametrize("digits", [40, 400])
def test_a_whole_number_that_is_too_large_for_a_float_is_one_fault(tmp_path, digits):
    assert "max_grad_norm" in only_fault(tmp_path, f'{{"max_grad_norm": {10**digits}}}')


def test_all_faults_are_listed_at_once(tmp_path):
    pairs = ", ".join(f'"{key}": {value}' for key, (value, _) in MANY_FAULTS.items())
    faults = faults_of(tmp_path, f"{{{pairs}}}", "num_steps", "target_kl=-1", "wat=5")
    for _, part in MANY_FAULTS.values():
        assert any(part in fault for fault in faults), part
    for part in ("num_steps", "target_kl = -1", "wat"):
        assert any(part in fault for fault in faults), part
    assert len(faults) == len(MANY_FAULTS) + 3


@pytest.mark.parametrize(
    "settings",
    [
        {"num_minibatches": 7, "normalize_advantages": "yes"},
        {"quadratic_policy_loss": True, "peaked_policy_loss": True, "beyond_target_slope": "1"},
    ],
)
def test_an_invalid_setting_hides_no_fault_of_others(settings):
    with pytest.raises(ParamsError) as error:
        load({"env_id": "Pong", **settings})
    assert len(error.value.faults) == 2


def test_message_of_the_error_holds_every_fault(tmp_path):
    with pytest.raises(ParamsError) as caught:
        load(written(tmp_path, '{"gamma": 2, "num_envs": 0}'))
    assert str(caught.value).splitlines() == caught.value.faults
    assert isinstance(caught.value, ValueError)


def test_broken_file_and_bad_override_are_reported_together(tmp_path):
    faults = faults_of(tmp_path, "{", "gamma=2")
    assert len(faults) == 2
    assert "not valid JSON" in faults[0] and "gamma = 2" in faults[1]


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("env_id: Pong", "; write one flat JSON object of settings"),
        ('{"gamma": 0.5,}\n', " (a comma after the last setting?); write one flat"),
        ('{"ppo": {"gamma": 0.5}}', "; write one flat JSON object, with what is under ppo"),
    ],
)
def test_a_file_that_is_no_flat_object_has_its_remedy(tmp_path, text, remedy):
    (fault,) = faults_of(tmp_path, text)
    assert remedy in fault


@pytest.mark.parametrize("first", ['"gamma": NaN', '"gamma": 0.5, "gamma": 0.6'])
def test_nan_or_duplicate_key_does_not_hide_other_faults(tmp_path, first):
    faults = faults_of(tmp_path, f'{{{first}, "num_envs": 0, "colour": 1}}')
    for part in ("gamma", "num_envs", "colour"):
        assert any(part in fault for fault in faults), part


# --- overrides


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("network=a3c", "network", "a3c"),
        ('network="a3c"', "network", "a3c"),
        ("env_id=ALE/Pong-v5", "env_id", "ALE/Pong-v5"),
        ("env_id=a=b", "env_id", "a=b"),
        ("gamma=0.5", "gamma", 0.5),
        ("gamma=1", "gamma", 1.0),
        ("learning_rate=5e-4", "learning_rate", 5e-4),
        ("clip_rewards=false", "clip_rewards", False),
        ("target_kl=null", "target_kl", None),
        ("num_envs= 16 ", "num_envs", 16),
    ],
)
def test_override_is_read_as_json_or_else_as_a_word(tmp_path, text, key, value):
    assert getattr(load(written(tmp_path, "{}"), [text]), key) == value


def test_override_wins_over_the_file_and_a_later_one_over_an_earlier(tmp_path):
    params = load(written(tmp_path, '{"gamma": 7}'), ["gamma=0.1", "gamma=0.2"])
    assert params.gamma == 0.2


@pytest.mark.parametrize("text", ["gamma", "", "=", "=5", "gamma:0.5"])
def test_override_that_is_no_pair_is_refused(tmp_path, text):
    assert "KEY=VALUE" in only_fault(tmp_path, "{}", text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("gama=0.5", "did you mean gamma?"),
        ("gamma=0.5x", 'gamma = "0.5x"'),
        ("gamma=True", 'gamma = "True"'),
        ("gamma=", 'gamma = ""'),
        ("num_envs=8.5", "num_envs = 8.5"),
        ("num_envs=true", "num_envs = true"),
        ("gamma=NaN", "NaN"),
        ("seed=[[", "seed ="),
        ('gamma={"a": 1}', 'gamma = {"a": 1}'),
    ],
)
def test_bad_override_is_refused(tmp_path, text, part):
    assert part in only_fault(tmp_path, "{}", text)


# --- the settings themselves


@pytest.mark.parametrize("key", ["gamma", "num_envs", "seed", "unknown"])
def test_settings_are_frozen(key):
    params = Params()
    with pytest.raises(ValidationError):
        setattr(params, key, 1)
    with pytest.raises(ValidationError):
        del params.gamma
    assert params == Params()


@pytest.mark.parametrize(
    ("total_steps", "iterations"), [(1, 1), (240, 1), (241, 2), (480, 2), (481, 3)]
)
def test_derived_sizes_follow_from_the_settings(total_steps, iterations):
    params = Params(num_envs=6, num_steps=40, num_minibatches=5, total_steps=total_steps)
    assert params.batch_size == 240
    assert params.minibatch_size == 48
    assert params.num_iterations == iterations


def test_json_holds_every_setting_and_nothing_else_and_reads_back(tmp_path):
    params = Params(
        env_id="Pöng",
        num_envs=3,
        num_steps=8,
        gamma=0.1,
        seed=2**31 - 1,
        clip_rewards=False,
        target_kl=1e-30,
        network="mlp",
    )
    assert json.loads(params.to_json()).keys() == Params.model_fields.keys()
    assert load(written(tmp_path, params.to_json())) == params


# --- the description


def test_description_has_one_line_a_key_in_the_order_of_the_groups():
    keys = [line.split("\t")[0] for line in describe.text().splitlines()]
    assert len(keys) == len(set(keys))
    assert set(keys) == set(Params.model_fields)
    grouped = [key for group in GROUPS for key in group.__dict__["__pydantic_fields__"]]
    assert keys == grouped


def test_a_value_survives_a_command_line(tmp_path):
    texts = [describe.as_given(value) for value in ("games", "2026", '"x"', True, None)]
    assert texts == ["games", '"2026"', '"\\"x\\""', "true", "null"]
    params = load(written(tmp_path, "{}"), [f"wandb_project={texts[1]}"])
    assert params.wandb_project == "2026"


def test_line_of_the_description_has_type_range_default_and_meaning():
    lines = {line.split("\t")[0]: line.split("\t")[1:] for line in describe.text().splitlines()}
    assert all(len(rest) == 3 and all(rest) for rest in lines.values())
    assert lines["num_envs"][:2] == ["int, at least 1, at most 1024", "16"]
    assert lines["target_kl"][:2] == ["float, above 0, or null", "null"]
    for key, (_, default, _) in lines.items():
        assert json.loads(default) == Params.model_fields[key].default


def test_markdown_description_has_a_row_for_every_key():
    text = describe.text(markdown=True)
    for key in Params.model_fields:
        assert text.count(f"| `{key}` |") == 1


# --- anything at all in a file gives settings or ParamsError, and no file

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 2000)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=8)
    | st.sampled_from(["linear", "constant", "nature", "a3c", "mlp"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
KEYS = st.sampled_from([*Params.model_fields, "$schema"]) | st.text(max_size=12)
# Valid settings, so the whole file is sometimes valid too.
SOUND = st.sets(st.sampled_from(sorted(Params.model_fields)), max_size=5).map(
    lambda keys: {key: Params.model_fields[key].default for key in keys}
)


def result_of(folder: Path, content: bytes, *overrides: str) -> Params | list[str]:
    path = written(folder, content)
    files = set(folder.rglob("*"))
    result: Params | list[str]
    try:
        result = load(path, overrides)
    except ParamsError as error:
        result = error.faults
    assert isinstance(result, Params) or (result and all(result))
    assert set(folder.rglob("*")) == files and path.read_bytes() == content
    return result


@given(sound=SOUND, noise=st.dictionaries(KEYS, VALUES, max_size=4))
@QUICK
def test_any_dictionary_gives_settings_or_faults(tmp_path, sound, noise):
    values = sound | noise
    result = result_of(tmp_path, json.dumps(values).encode())
    if isinstance(result, Params):
        for key, value in values.items():
            assert key == "$schema" or getattr(result, key) == value
        for key, value in result:
            assert not isinstance(value, float) or math.isfinite(value), key


@given(content=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
@QUICK
def test_any_content_of_a_file_gives_settings_or_faults(tmp_path, content):
    result_of(tmp_path, content)


# Pieces of JSON come far deeper into the reader than random characters do.
PIECES = ["{", "}", "[", "]", '"gamma"', '"num_envs"', ":", ",", "0.5", "3", "NaN", "null", " "]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12))
@QUICK
def test_any_pieces_of_json_give_settings_or_faults(tmp_path, pieces):
    result_of(tmp_path, "".join(pieces).encode())


@given(
    overrides=st.lists(
        st.text(max_size=12) | st.builds("{}={}".format, KEYS, st.text(max_size=8)), max_size=3
    )
)
@QUICK
def test_any_overrides_give_settings_or_faults(tmp_path, overrides):
    result_of(tmp_path, b"{}", *overrides)


# --- however settings are made


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"num_minibatches": 7}, "choose fewer, such as 4"),
        ({"num_envs": 2, "num_steps": 4}, "two steps or more"),
        ({"peaked_policy_loss": True, "quadratic_policy_loss": True}, "choose one of them"),
        ({"beyond_target_slope": 0.0, "quadratic_policy_loss": True}, "choose one of them"),
    ],
    ids=str,
)
def test_inconsistent_settings_are_refused_in_python_too(changes, fault):
    with pytest.raises(ValidationError, match=fault):
        Params(**changes)


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({}, ("linear", "probability", 0.0)),
        ({"peaked_policy_loss": True}, ("linear", "probability", 1.0)),
        ({"beyond_target_slope": 0.3, "delta_target_policy": "logit"}, ("linear", "logit", 0.3)),
        ({"peaked_policy_loss": True, "beyond_target_slope": 1.0}, ("linear", "probability", 1.0)),
        ({"quadratic_policy_loss": True}, ("quadratic", "probability", 0.0)),
    ],
    ids=str,
)
def test_settings_choose_the_policy_loss(changes, chosen):
    assert Params(**changes).surrogate_choice == chosen


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"num_envs": 1, "num_steps": 1, "num_minibatches": 1}, "choose more steps or envs$"),
        ({"num_envs": 1, "num_steps": 2, "num_minibatches": 2}, "choose fewer, such as 1$"),
        ({"num_envs": 1, "num_steps": 6, "num_minibatches": 5}, "choose fewer, such as 3$"),
        (
            {"num_envs": 1, "num_steps": 2, "num_minibatches": 1, "workers": 2}
            | {"minibatch_per": "run"},
            "two steps or more with .*; choose more steps or envs, or another number of workers",
        ),
        (
            {"num_envs": 1, "num_steps": 1, "num_minibatches": 1, "workers": 2}
            | {"minibatch_per": "run", "normalize_advantages": False},
            "2 equal parts, .*; choose more steps or envs, or another number of workers",
        ),
    ],
    ids=str,
)
def test_remedy_for_small_minibatches_is_one_that_helps(changes, remedy):
    with pytest.raises(ParamsError, match=remedy):
        load(changes)


def test_mapping_gives_the_settings_that_a_file_with_it_gives(tmp_path):
    given = {"env_id": "Breakout", "learning_rate": 1, "total_steps": 1e6}
    assert load(given, ["gamma=0.5"]) == load(written(tmp_path, json.dumps(given)), ["gamma=0.5"])
    assert given == {"env_id": "Breakout", "learning_rate": 1, "total_steps": 1e6}
    with pytest.raises(ParamsError) as refused:
        load({"gamma": object(), 7: 1, "learning_rate": float("nan"), "lr": [object()]})
    assert len(refused.value.faults) == 4
    deep: list = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(ParamsError, match="gamma: nested too deeply"):
        load({"gamma": deep})


@pytest.mark.parametrize("given", [None, [], 5, b"pong"])
def test_settings_of_another_type_are_refused(given, tmp_path):
    with pytest.raises(TypeError, match="settings must be a file, a preset's name, or a mapping: "):
        train.run(given, tmp_path / "run")


@pytest.mark.parametrize("given", [None, 5, [5]])
def test_overrides_of_another_type_are_refused(given):
    with pytest.raises(TypeError, match="overrides must be a mapping, or texts KEY=VALUE: "):
        load({}, given)


def test_a_key_with_an_equals_sign_is_named_whole():
    unlike = {"gamma=0": 1}
    for arguments in ((unlike,), ({}, unlike)):
        with pytest.raises(ParamsError, match=r'^"gamma=0": there is no such setting$'):
            load(*arguments)


def test_a_callback_that_cannot_be_called_is_refused_before_a_run_is_created(tmp_path):
    with pytest.raises(TypeError, match="callback must be a function: 5"):
        train.run({"env_id": "CartPole-v1"}, tmp_path / "run", callback=5)
    assert not (tmp_path / "run").exists()


def test_a_function_may_have_any_name():
    def make():
        return None

    make_object = functools.partial(make)
    make_object.__name__ = 5
    assert factories.id_of(make_object) == "factory/5-v0"


def test_overrides_may_be_a_mapping_as_well_as_texts():
    given = {"network": "mlp", "gamma": 1, "target_kl": None, "mlp_sizes": (8, 4), "seed": 3}
    wanted = ["network=mlp", "gamma=1", "target_kl=null", "mlp_sizes=[8, 4]", "seed=3"]
    assert load({}, given) == load({}, wanted) == load(given)
    assert load({}, "gamma=0.5") == load({}, {"gamma": 0.5}) == load({"gamma": 0.7}, ["gamma=0.5"])
    with pytest.raises(ParamsError, match=r"gama.*did you mean gamma") as refused:
        load({}, {"gama": 0.5, "num_envs": object()})
    assert len(refused.value.faults) == 2


def test_values_that_cannot_be_written_as_json_are_refused():
    endless, deep = {}, []
    endless["gamma"] = endless
    for _ in range(100_000):
        deep = [deep]
    odd = {"gamma": float}, {"mlp_sizes": {(1, 2): 3}}
    for unlike in (endless, {"gamma": deep}, {"seed": 10**5000}, *odd):
        for arguments in ((unlike,), ({}, unlike)):
            with pytest.raises(ParamsError):
                load(*arguments)


def test_a_score_that_ends_a_run_may_have_any_size():
    assert load({"stop_at_score": 1e39}).stop_at_score == 1e39


def test_numbers_and_arrays_of_numpy_are_taken():
    numbers = {"num_envs": np.int64(8), "gamma": np.float32(0.5), "adam_reset": np.bool_(True)}
    numbers |= {"network": "mlp", "mlp_sizes": np.array([8, 4])}
    taken = load(numbers)
    assert (taken.num_envs, taken.gamma, taken.adam_reset) == (8, 0.5, True)
    assert taken == load({}, numbers) and taken.mlp_sizes == [8, 4]


def test_settings_can_be_made_from_others():
    given = load({"num_envs": 8, "seed": 2})
    assert load(given) == given and load(given, {"seed": 3}).seed == 3 and given.seed == 2


def test_resolved_settings_keep_what_was_given_and_take_what_was_left_open():
    given = Params(seed=3, gamma=0.5).resolved(7, 2, 0.25, "bfloat16")
    assert (given.seed, given.threads, given.sticky_action_probability) == (3, 2, 0.25)
    assert given.gamma == 0.5
    stored = json.loads(given.to_json())
    assert Params(**stored).resolved(8, 9, 0.5, "float32") == given


@pytest.mark.parametrize("chosen", ["float32", "bfloat16"])
def test_precision_is_the_processor_s_only_if_it_is_auto(chosen):
    assert Params(precision="auto").resolved(7, 2, 0.25, chosen).precision == chosen
    assert Params(precision="float32").resolved(7, 2, 0.25, chosen).precision == "float32"
    assert Params(precision="bfloat16").resolved(7, 2, 0.25, chosen).precision == "bfloat16"


def test_run_from_before_there_was_a_precision_had_float32_and_can_be_resumed(tmp_path):
    whole = Params(network="a3c").resolved(7, 2, 0.25, "float32")
    later = ("precision", "network_width", "layer_norm")
    before = {key: value for key, value in whole if key not in later}
    path = written(tmp_path, json.dumps(before))
    assert load_run(path).precision == "float32"
    assert load_run(path).network_width == 1
    assert not load_run(path).layer_norm
    assert load(path).precision == Params().precision == "auto"
    assert compare_settings(before, whole) == {}
    other = whole.model_copy(update={"precision": "bfloat16"})
    with pytest.raises(ParamsError, match="precision = 'bfloat16': this run began with 'float32'"):
        compare_settings(before, other)


def test_run_keeps_the_precision_that_it_has(tmp_path):
    stored = Params().resolved(7, 2, 0.25, "bfloat16").to_json()
    assert load_run(written(tmp_path, stored)).precision == "bfloat16"


def test_run_from_before_clips_rewards_as_it_did(tmp_path):
    whole = Params(env_id="CartPole-v1").resolved(7, 2, 0.25, "float32", clip_rewards=False)
    stored = whole.model_dump()
    assert not load_run(written(tmp_path, json.dumps(stored))).clip_rewards
    del stored["clip_rewards"]
    assert load_run(written(tmp_path, json.dumps(stored))).clip_rewards


@pytest.mark.parametrize("key", ["seed", "threads", "sticky_action_probability", "clip_rewards"])
def test_resolved_settings_leave_nothing_open(key):
    whole = Params().resolved(7, 2, 0.25, "bfloat16").model_dump()
    with pytest.raises(ValidationError, match=key):
        ResolvedParams(**whole | {key: None})
    with pytest.raises(ValidationError, match="precision"):
        ResolvedParams(**whole | {"precision": "auto"})


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("max_grad_norm", 1e39, "too large"),
        ("adam_epsilon", 1e-46, "too small"),
        ("target_kl", 1e-40, "too small"),
        ("value_clip_range", 1e40, "too large"),
    ],
)
def test_numbers_that_float32_cannot_hold_are_refused(key, value, what):
    with pytest.raises(ValidationError, match=f"{key}.*{what} for float32"):
        Params(**{key: value})


@pytest.mark.parametrize("key", ["adam_beta_1", "adam_beta_2", "value_rescaling_decay"])
def test_a_decay_that_float32_rounds_to_1_is_refused(key):
    nearest = 1 - 2.0**-25
    with pytest.raises(ValidationError, match=f"{key}.* it is 1 in float32"):
        Params(**{key: nearest})
    below = np.nextafter(nearest, 0)
    assert np.float32(nearest) == 1 and np.float32(below) < 1
    Params(**{key: float(below)})
    assert Params(gamma=nearest).gamma == nearest  # which may be 1


# --- properties


def test_a_setting_s_property_overrides_its_group_s():
    fixed = marked("fixed")
    assert fixed["noop_max"] == "on resume" and fixed["env_id"] == "on fork"
    assert "learning_rate" not in fixed
    assert marked("only")["frame_skip"] == "Atari"
    assert "video_interval" in INCIDENTAL and INCIDENTAL.isdisjoint({"collapse_guard", "workers"})


def test_what_a_start_chooses_is_what_resolved_settings_declare():
    assert {key for key in Params.model_fields if Params().leaves_open(key)} == {*CHOSEN_AT_START}


def test_values_that_properties_name_are_allowed():
    for name in ("idle", "earlier", "off"):
        for key, value in marked(name).items():
            assert getattr(Params(**{key: value}), key) == value


def test_meaning_is_one_line_that_says_where_alone_it_has_an_effect():
    meanings = {key: field.description for key, field in Params.model_fields.items()}
    assert all(meaning and "\n" not in meaning for meaning in meanings.values())
    assert {key for key, m in meanings.items() if m.endswith(" only")} == {*marked("only")}


def test_settings_are_checked_once(monkeypatch):
    calls = []
    monkeypatch.setattr("ppo.settings.rules.broken", lambda *_: calls.append(1) or [])
    params = load({"num_envs": 8}, ["seed=3"])
    with_workers(params, 1).resolved(1, 1, 0.0, "float32")
    assert len(calls) == 1


def test_a_network_is_built_in_or_a_function():
    assert load({"network": "my.own:trunk"}).is_custom and not load({}).is_custom
    assert load({"network": "my.own:trunk"}).usual_value_gradient == "shared"
    for wrong in ("a3b", "my.own", ":trunk", "my.own:", "my own:trunk"):
        with pytest.raises(ParamsError, match=r"network.* must be .*or .*MODULE:FUNCTION"):
            load({"network": wrong})
    with pytest.raises(
        ParamsError, match=r"network my.own:trunk sets the precision of its own layers"
    ):
        load({"network": "my.own:trunk", "precision": "bfloat16"})


def test_sizes_are_a_list_of_whole_numbers():
    assert load({"network": "mlp"}, ["mlp_sizes=[32, 8]"]).mlp_sizes == [32, 8]
    for wrong in ("[]", "64", "[0]", "[1.5]", '["a"]', "null", str([8] * 17)):
        with pytest.raises(ParamsError, match="must be list of 1 to 16, each int, at least 1"):
            load({"network": "mlp"}, [f"mlp_sizes={wrong}"])


CART = "CartPole-v1"


@pytest.mark.parametrize("given", [{"env_id": CART}, {}])
@pytest.mark.parametrize("overrides", [{"env_id": CART}, [f"env_id={CART}"], {"seed": 1}])
@pytest.mark.parametrize("env", [CART, None])
def test_a_mapping_begins_with_the_settings_of_its_game_wherever_that_is_named(
    given, overrides, env
):
    is_named = env or given or "seed" not in overrides
    settings = train.new_settings(given, overrides, env)
    assert settings.env_id == (CART if is_named else Params().env_id)
    assert settings.network == (FLAT["network"] if is_named else Params().network)


@pytest.mark.parametrize(
    ("given", "overrides"),
    [({"env_id": "Pong"}, ()), ({}, {"env_id": "Pong"}), ("pong", ["env_id=Pong"])],
)
def test_two_games_are_refused(given, overrides):
    with pytest.raises(ParamsError, match="env and env_id = 'Pong' both name the game"):
        train.new_settings(given, overrides, CART)


def test_the_game_of_a_preset_can_be_replaced():
    assert train.new_settings("pong", (), "Breakout").env_id == "Breakout"
