"""The names that other packages have for settings, for those who come from there."""

from collections.abc import Mapping
from typing import Any

# Stable-Baselines3, its zoo, CleanRL, OpenAI's baselines, and the paper's own words.
SAME = {
    "adam_eps": "adam_epsilon",
    "clip_coef": "clip_range",
    "clip_param": "clip_range",
    "cliprange": "clip_range",
    "ent_coef": "entropy_coef",
    "env": "env_id",
    "env_name": "env_id",
    "epochs": "num_epochs",
    "frameskip": "frame_skip",
    "lam": "gae_lambda",
    "lambda": "gae_lambda",
    "lr": "learning_rate",
    "n_envs": "num_envs",
    "n_epochs": "num_epochs",
    "n_steps": "num_steps",
    "nminibatches": "num_minibatches",
    "noptepochs": "num_epochs",
    "norm_adv": "normalize_advantages",
    "normalize_advantage": "normalize_advantages",
    "nsteps": "num_steps",
    "nstack": "frame_stack",
    "policy": "network",
    "repeat_action_probability": "sticky_action_probability",
    "save_interval": "checkpoint_interval",
    "total_timesteps": "total_steps",
    "n_timesteps": "total_steps",
    "update_epochs": "num_epochs",
}
OTHERWISE = {
    "anneal_lr": 'learning_rate_schedule, "linear" or "constant"',
    "clip_range_vf": "value_clip_range, a range of its own or null",
    "clip_vloss": "value_clip_range, a range of its own or null",
    "total_frames": "total_steps, in steps: frames / frame_skip",
    "num_frames": "total_steps, in steps: frames / frame_skip",
    "vf_coef": "value_coef, of half the squared error: twice Stable-Baselines3's number, CleanRL's "
    "as it is",
}
OF_MINIBATCHES = ("batch_size", "minibatch_size")


def hint(key: str, values: Mapping[str, Any]) -> str | None:
    """How a setting of another package is given here, or None; ``values`` are the other settings,
    in which a number of minibatches can be computed.
    """
    if key in SAME:
        return f"here it is called {SAME[key]}"
    if key in OTHERWISE:
        return f"here it is {OTHERWISE[key]}"
    if key in OF_MINIBATCHES:
        return f"here it is num_minibatches, {_minibatches(values[key], values)}"
    return None


def _minibatches(size: Any, values: Mapping[str, Any]) -> str:
    """The number of minibatches of a size, if that is a whole number."""
    formula = "num_envs x num_steps / batch_size"
    numbers = [size, _first(values, "num_envs", "n_envs"), _first(values, "num_steps", "n_steps")]
    if not all(type(number) is int and number > 0 for number in numbers):
        return formula
    size, envs, steps = numbers
    return formula if envs * steps % size else f"{formula} = {envs * steps // size}"


def _first(values: Mapping[str, Any], *names: str) -> Any:
    return next((values[name] for name in names if name in values), None)
