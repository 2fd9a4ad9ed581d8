"""What settings must agree on: rules about several settings, and the range of float32."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from annotated_types import Lt

from ppo.settings.fields import AllSettings

ROUNDED_TO_1 = 1 - 2.0**-25  # the smallest number that float32 rounds to 1


class Rule(NamedTuple):
    """A rule about several settings: whether they break it, and a message, which ``_terms`` fills
    in. It is not checked if one of ``keys`` is invalid. Any other invalid setting counts as its
    default.
    """

    keys: str
    is_broken: Callable[[AllSettings], Any]
    message: str


RULES = (
    Rule(
        "network precision",
        lambda p: p.is_custom and p.precision == "bfloat16",
        'precision = "bfloat16": the network {p.network} sets the precision of its own layers. '
        "Remove precision",
    ),
    Rule(
        "num_envs num_steps num_minibatches minibatch_per workers",
        lambda p: (
            p.batch_size % p.minibatches_per_epoch or p.minibatch_size < 1 + p.normalize_advantages
        ),
        "num_minibatches = {p.num_minibatches}: num_envs {p.num_envs} x num_steps {p.num_steps} = "
        "{p.batch_size} steps do not make {parts}{least}; choose {remedy}",
    ),
    Rule(
        "quadratic_policy_loss",
        lambda p: (
            p.quadratic_policy_loss and (p.peaked_policy_loss or p.beyond_target_slope is not None)
        ),
        "quadratic_policy_loss with peaked_policy_loss or beyond_target_slope: the parabola has "
        "its own slope beyond the target; choose one of them",
    ),
    Rule(
        "peaked_policy_loss beyond_target_slope",
        lambda p: p.peaked_policy_loss and p.beyond_target_slope not in (None, 1),
        "peaked_policy_loss and beyond_target_slope = {p.beyond_target_slope}: the peaked loss has "
        "the slope 1; choose one of them",
    ),
    Rule(
        "normalize_advantages advantage_std_floor",
        lambda p: p.advantage_std_floor and not p.normalize_advantages,
        "advantage_std_floor = {p.advantage_std_floor}: without normalize_advantages nothing is "
        "divided; choose one of them",
    ),
    Rule(
        "target_kl target_kl_if_improved",
        lambda p: p.target_kl_if_improved and p.target_kl is None,
        "target_kl_if_improved = true: without target_kl it has no effect; set both",
    ),
    Rule(
        "minibatch_kl_limit undo_beyond_kl_limit",
        lambda p: p.undo_beyond_kl_limit and p.minibatch_kl_limit is None,
        "undo_beyond_kl_limit = true: without minibatch_kl_limit it has no effect; set both",
    ),
)

# With settings that break these rules keep_checkpoints_* keep nothing. Older runs may have them.
KEPT_RULES = (
    Rule(
        "keep_checkpoints_from keep_checkpoints_to",
        lambda p: p.keep_checkpoints_from is None and p.keep_checkpoints_to is not None,
        "keep_checkpoints_to = {p.keep_checkpoints_to}: without keep_checkpoints_from none is "
        "kept; set both",
    ),
    Rule(
        "keep_checkpoints_from keep_checkpoints_to",
        lambda p: (
            None not in (p.keep_checkpoints_from, p.keep_checkpoints_to)
            and not p.checkpoints_always_kept
        ),
        "keep_checkpoints_from = {p.keep_checkpoints_from}: it is after keep_checkpoints_to = "
        "{p.keep_checkpoints_to}; swap them",
    ),
)

# Settings that break these rules have no effect. Older runs may have such settings.
IDLE_RULES = (
    Rule(
        "value_rescaling value_rescaling_decay",
        lambda p: p.value_rescaling != "smoothed" and _differs(p, "value_rescaling_decay"),
        "value_rescaling_decay = {p.value_rescaling_decay}: without value_rescaling = smoothed it "
        "has no effect; set both",
    ),
    Rule(
        "evaluation_interval evaluation_games",
        # An interval of 0 that is given switches the evaluations off.
        lambda p: (
            "evaluation_interval" not in p.model_fields_set and _differs(p, "evaluation_games")
        ),
        "evaluation_games = {p.evaluation_games}: without evaluation_interval it has no effect; "
        "set both",
    ),
    Rule(
        "wandb_project",
        lambda p: p.wandb_project == "",
        'wandb_project = "": has no effect; name a project, or leave it out',
    ),
)


def _differs(params: AllSettings, key: str) -> bool:
    """Whether a setting differs from its default."""
    return bool(getattr(params, key) != type(params).model_fields[key].default)


def inconsistencies(params: AllSettings, bad: frozenset[str]) -> list[str]:
    """Return the inconsistencies between settings. Rules about an invalid setting are skipped."""
    faults = [_float32(params, key) for key, _ in params if key not in bad]
    return [*filter(None, faults), *broken(RULES, params, bad)]


def broken(rules: Iterable[Rule], params: AllSettings, bad: frozenset[str]) -> list[str]:
    """Return the messages of broken rules, except for rules that involve an invalid setting."""
    sound = (rule for rule in rules if bad.isdisjoint(rule.keys.split()))
    return [rule.message.format(**_terms(params)) for rule in sound if rule.is_broken(params)]


kept_faults = partial(broken, KEPT_RULES)  # a check for ``params.load``


def _float32(params: AllSettings, key: str) -> str | None:
    """Explain how float32, in which the update computes, turns a number into 0, 1 or infinity."""
    value = getattr(params, key)
    if not isinstance(value, float) or value == 0 or key == "stop_at_score":
        return None
    if Lt(1) in type(params).model_fields[key].metadata and value >= ROUNDED_TO_1:
        return f"{key} = {value!r}: it is 1 in float32, in which training computes; choose less"
    if 2.0**-126 <= abs(value) < 2.0**128:
        return None
    what = "too small" if abs(value) < 1 else "too large"
    return f"{key} = {value!r}: {what} for float32, in which training computes"


def _terms(p: AllSettings) -> dict[str, Any]:
    """Return the terms of the messages. ``remedy`` names the largest smaller number of minibatches
    that would do.
    """
    size, count, least = p.batch_size, p.minibatches_per_epoch, 1 + p.normalize_advantages
    share = count // p.num_minibatches  # parts of a minibatch
    parts = f"{count} equal minibatches"
    if share > 1:
        parts = f"{p.num_minibatches} minibatches x {p.workers} workers = {count} equal parts"
        parts += ', for minibatch_per = "run"'
    smaller = (n for n in range(1, p.num_minibatches) if size % (n * share) == 0)
    divisor = max((n for n in smaller if size // (n * share) >= least), default=None)
    remedy = f"fewer, such as {divisor}" if divisor else "more steps or envs"
    return {
        "p": p,
        "parts": parts,
        "least": ", two steps or more with normalize_advantages" * (size % count == 0),
        "remedy": remedy + ", or another number of workers" * (share > 1),
    }
