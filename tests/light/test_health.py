"""Warnings about a run's scalars."""

from ppo.settings import Params
from ppo.telemetry.health import ENTRIES, Health
from ppo.telemetry.scalars import METRICS

SOUND = {"train/grad_norm": 1.0, "train/grad_cut": 0.1, "train/approx_kl": 0.01}


def test_each_cause_is_reported_once_however_many_scalars_show_it():
    health = Health()
    clipped = SOUND | {"train/grad_norm": 30.0, "train/grad_cut": 0.99}
    entries = [clipped] * (ENTRIES + 2) + [SOUND] + [clipped] * (ENTRIES + 2)
    said = [message for entry in entries for message in health.see(entry)]
    assert len(said) == 1 and said[0].startswith(
        "last 5 log entries: train/grad_norm is 30 (healthy below 10)."
    )
    large = {"train/ratio_max": 99.0, "train/clip_fraction": 0.9, "layers/change_policy": 0.9}
    said = [message for _ in range(ENTRIES) for message in health.see(large)]
    assert len(said) == 1 and "Lower learning_rate" in said[0]


def test_a_value_that_is_too_low_is_not_called_above_its_limits():
    health = Health()
    said = [m for _ in range(ENTRIES) for m in health.see({"train/ratio_below": 0.2})]
    assert len(said) == 1
    assert said[0].endswith("(healthy above 0.3). Lower learning_rate")


def test_gradients_of_unclipped_rewards_have_no_limits():
    health = Health(Params(clip_rewards=False))
    large = {"train/grad_norm": 30.0, "train/grad_cut": 0.99, "train/advantage_scale": 200.0}
    assert not [message for _ in range(ENTRIES) for message in health.see(SOUND | large)]


def test_a_surrogate_of_advantages_that_are_not_normalised_has_no_limits():
    health = Health(Params(normalize_advantages=False))
    entry = {"train/policy_gradient_loss": 17.0, "train/surrogate_gain_last": -17.0}
    assert not any(health.see(entry) for _ in range(10))


def test_the_largest_values_of_healthy_runs_are_not_reported():
    """Runs in Beam Rider exceeded each in ENTRIES entries in a row."""
    largest = {
        "train/approx_kl": 0.091,
        "train/approx_kl_max": 0.164,
        "train/clip_fraction": 0.539,
        "train/beyond_target": 0.491,
        "train/ratio_distance": 0.308,
    }
    health = Health(Params())
    assert not [message for _ in range(ENTRIES) for message in health.see(largest)]


def test_a_clip_range_that_falls_to_0_leaves_all_samples_beyond_it():
    health = Health(Params(clip_range_schedule="linear"))
    end = {"train/clip_fraction": 0.75, "train/beyond_target": 0.7}
    assert not [message for _ in range(ENTRIES) for message in health.see(end)]


def test_a_single_outlier_is_not_reported():
    health = Health()
    outside = SOUND | {"train/approx_kl": 9.0}
    entries = ([outside] * (ENTRIES - 1) + [SOUND]) * 3
    assert not [message for entry in entries for message in health.see(entry)]


def test_a_value_that_drives_the_trunk_is_answered_with_a_lower_rate():
    health = Health()
    said = [m for _ in range(ENTRIES) for m in health.see({"trunk/value_share": 0.98})]
    assert "lower learning_rate" in said[0]


def test_a_certain_policy_is_not_reported_if_the_value_has_a_trunk_of_its_own():
    shared, own = Health(Params()), Health(Params(network="mlp"))
    said = [
        [m for _ in range(ENTRIES) for m in health.see({"train/pseudo_entropy": 0.003})]
        for health in (shared, own)
    ]
    assert len(said[0]) == 1 and not said[1]


def test_every_cause_is_a_scalar_with_a_remedy():
    metrics = {metric.tag: metric for metric in METRICS}
    caused = [metric for metric in METRICS if metric.cause]
    assert len(caused) == 12
    for metric in caused:
        assert metric.limits and metrics[metric.cause].remedy
