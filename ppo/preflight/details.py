"""The 22 implementation details of docs/algorithm.md, and whether given settings enable them."""

from typing import NamedTuple

from ppo.settings import ResolvedParams, SurrogateChoice

ON, OFF, NONE = "on", "off", "-"


class Detail(NamedTuple):
    """A detail: its name in docs/algorithm.md, its state, and the settings that decide it. The
    state is ON, OFF, or NONE if the game has no such thing.
    """

    name: str
    state: str
    settings: str


def details(params: ResolvedParams, is_atari: bool) -> dict[str, list[Detail]]:
    """Return the 13 core details and the 9 Atari details."""
    return {"core": _core(params), "Atari": _atari(params, is_atari)}


def _core(p: ResolvedParams) -> list[Detail]:
    return [
        _detail("Vectorised envs", p.num_envs > 1, f"num_envs {p.num_envs}"),
        _detail("Orthogonal weights, zero biases", True, "always"),
        _detail("Adam's epsilon", p.adam_epsilon == 1e-5, f"adam_epsilon {p.adam_epsilon:g}"),
        _detail(
            "Annealed learning rate",
            p.learning_rate_schedule == "linear",
            f"learning_rate_schedule {p.learning_rate_schedule}, from {p.learning_rate:g}",
        ),
        _detail("GAE", True, f"gamma {p.gamma:g}, gae_lambda {p.gae_lambda:g}"),
        _detail(
            "Minibatches",
            p.num_minibatches > 1,
            f"num_minibatches {p.num_minibatches} of {p.minibatch_size} steps, "
            f"num_epochs {p.num_epochs}",
        ),
        _detail(
            "Normalised advantages",
            p.normalize_advantages,
            f"advantage_std_floor {p.advantage_std_floor:g}" if p.advantage_std_floor else "",
        ),
        _policy_loss(p),
        _detail(
            "Clipped value loss",
            p.value_clip_range is not None,
            "no value_clip_range" if p.value_clip_range is None else f"{p.value_clip_range:g}",
        ),
        _detail(
            "One loss with an entropy bonus", p.entropy_coef > 0, f"entropy_coef {p.entropy_coef:g}"
        ),
        _detail("Clip of the global gradient norm", True, f"max_grad_norm {p.max_grad_norm:g}"),
        _detail("Debug variables", True, f"diagnostics_interval {p.diagnostics_interval}"),
        _detail(
            "Shared or separate networks",
            p.value_gradient != "separate",
            f"value_gradient {p.value_gradient}",
        ),
    ]


def _policy_loss(p: ResolvedParams) -> Detail:
    usual = SurrogateChoice()._asdict()
    changed = [f"{k} {v}" for k, v in p.surrogate_choice._asdict().items() if v != usual[k]]
    clip = f"clip_range {p.clip_range:g}, {p.clip_range_schedule}"
    return _detail("Clipped surrogate", not changed, ", ".join([clip, *changed]))


def _atari(p: ResolvedParams, is_atari: bool) -> list[Detail]:
    pictures = p.sees_pictures
    changed = ["layer_norm"] * p.layer_norm
    changed += [f"network_width {p.network_width}"] * (p.network_width > 1)
    return [
        _detail("No-ops", p.noop_max > 1, f"noop_max {p.noop_max}", is_atari),
        _detail("Repeat and maximum", p.frame_skip > 1, f"frame_skip {p.frame_skip}", is_atari),
        _detail("A lost life ends the return", p.terminal_on_life_loss, "", is_atari),
        _detail(
            "FIRE at the beginning and after a lost life",
            p.fire_on_reset and p.fire_on_life_loss,
            f"fire_on_reset {p.fire_on_reset}, fire_on_life_loss {p.fire_on_life_loss}".lower(),
            is_atari,
        ),
        _detail("Grey 84 x 84", p.screen_size == 84, f"screen_size {p.screen_size}", is_atari),
        _detail("Sign of the reward", p.clip_rewards, ""),
        _detail(
            "Stack of the 4 latest frames",
            p.frame_stack == 4,
            f"frame_stack {p.frame_stack}",
            is_atari,
        ),
        _detail(
            "Shared Nature network",
            p.network == "nature" and p.value_gradient != "separate" and not changed,
            ", ".join([f"network {p.network}", *changed]),
        ),
        _detail(
            "Pixels in [0, 1]",
            p.picture_scaling == "unit",
            f"picture_scaling {p.picture_scaling}",
            pictures,
        ),
    ]


def _detail(name: str, on: bool, settings: str, exists: bool = True) -> Detail:
    return Detail(name, (ON if on else OFF) if exists else NONE, settings if exists else "")
