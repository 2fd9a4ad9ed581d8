"""The 22 implementation details of docs/algorithm.md, and whether given settings enable them."""

from typing import NamedTuple

from ppo.settings import ResolvedParams
from ppo.settings.describe import as_given
from ppo.settings.fields import SurrogateChoice

ON, OFF, NONE = "on", "off", "-"


class Detail(NamedTuple):
    """A detail of docs/algorithm.md."""

    name: str
    state: str  # ON, OFF, or NONE if the game has no such thing
    settings: str  # that decide it


def details(params: ResolvedParams, is_atari: bool) -> dict[str, list[Detail]]:
    """Return the 13 core details and the 9 Atari details."""
    return {"core": _core(params), "Atari": _atari(params, is_atari)}


def _core(p: ResolvedParams) -> list[Detail]:
    usual = SurrogateChoice()._asdict()
    surrogate = [f"{k} {v}" for k, v in p.surrogate_choice._asdict().items() if v != usual[k]]
    clip = ", ".join([_shown(p, "clip_range", "clip_range_schedule"), *surrogate])
    rate = _shown(p, "learning_rate_schedule", "learning_rate")
    minibatches = _shown(p, "num_minibatches", "minibatch_size", "num_epochs")
    floor = _shown(p, "advantage_std_floor") if p.advantage_std_floor else ""
    shared, clipped = p.value_gradient != "separate", p.value_clip_range is not None
    orthogonal = "always, except in a trunk of your own" if p.is_custom else "always"
    return [
        _detail("Vectorised envs", p.num_envs > 1, _shown(p, "num_envs")),
        _detail("Orthogonal weights, zero biases", True, orthogonal),
        _detail("Adam's epsilon", p.adam_epsilon == 1e-5, _shown(p, "adam_epsilon")),
        _detail("Annealed learning rate", p.learning_rate_schedule == "linear", rate),
        _detail("GAE", True, _shown(p, "gamma", "gae_lambda")),
        _detail("Minibatches", p.num_minibatches > 1, minibatches),
        _detail("Normalised advantages", p.normalize_advantages, floor),
        _detail("Clipped surrogate", not surrogate, clip),
        _detail("Clipped value loss", clipped, _shown(p, "value_clip_range")),
        _detail("One loss with an entropy bonus", p.entropy_coef > 0, _shown(p, "entropy_coef")),
        _detail("Clip of the global gradient norm", True, _shown(p, "max_grad_norm")),
        _detail("Debug variables", True, _shown(p, "diagnostics_interval")),
        _detail("Shared or separate networks", shared, _shown(p, "value_gradient")),
    ]


def _atari(p: ResolvedParams, is_atari: bool) -> list[Detail]:
    fire = _shown(p, "fire_on_reset", "fire_on_life_loss")
    presses_fire = p.fire_on_reset and p.fire_on_life_loss
    unusual = ["layer_norm"] * p.layer_norm + ["network_width"] * (p.network_width > 1)
    usual = p.network == "nature" and p.value_gradient != "separate" and not unusual
    unit, scaling = p.picture_scaling == "unit", _shown(p, "picture_scaling")
    of_four, stack = p.frame_stack == 4, _shown(p, "frame_stack")
    return [
        _detail("No-ops", p.noop_max > 1, _shown(p, "noop_max"), is_atari),
        _detail("Repeat and maximum", p.frame_skip > 1, _shown(p, "frame_skip"), is_atari),
        _detail("A lost life ends the return", p.terminal_on_life_loss, "", is_atari),
        _detail("FIRE at the beginning and after a lost life", presses_fire, fire, is_atari),
        _detail("Grey 84 x 84", p.screen_size == 84, _shown(p, "screen_size"), is_atari),
        _detail("Sign of the reward", p.clip_rewards, ""),
        _detail("Stack of the 4 latest frames", of_four, stack, is_atari),
        _detail("Shared Nature network", usual, _shown(p, "network", *unusual)),
        _detail("Pixels in [0, 1]", unit, scaling, p.sees_images),
    ]


def _shown(p: ResolvedParams, *keys: str) -> str:
    """Return settings and their values: "gamma 0.99, gae_lambda 0.95"."""
    return ", ".join(f"{key} {as_given(getattr(p, key))}" for key in keys)


def _detail(name: str, on: bool, settings: str, exists: bool = True) -> Detail:
    return Detail(name, (ON if on else OFF) if exists else NONE, settings if exists else "")
