"""The changes of an autopsy, and what it means if one of them prevents the collapse."""

from collections.abc import Mapping
from dataclasses import dataclass

from ppo.settings import ResolvedParams
from ppo.settings.describe import as_given
from ppo.settings.fields import SurrogateChoice
from ppo.system.streams import counted

UNCHANGED = "unchanged"
RATES = (2, 4, 8)  # divisors of the learning rate, for the effect of smaller steps alone
FLOOR_SHARE = 5.0  # times the standard deviation of the advantages before the collapse
UNKNOWN_FLOOR = 0.3  # for a log without that value: about the value in early Pong training
KL_LIMIT = 0.05

# Why the policy collapses.
LARGE_STEPS = "the steps are too large"
FAR_STEPS = "single steps within an update go too far"
LIMIT = "the KL limit ends the update before later steps repair what its first ones broke"
OVERFITTING = "later epochs overfit the rollout"
REPAIR = "later epochs repair what its first steps broke"
EARLY_STOP = f"early stopping ends the update before {REPAIR}"
NOISE = "normalising blows the advantages' noise up to the size of a signal"
SMALL = "the gradient of so small a minibatch is noise"
VALUE_GRADIENT = "the value's gradient drives the shared trunk"
LAG = "Adam's second moment lags behind the gradient"
OLD_MOMENTS = "Adam's moments are of another policy's gradients"
WIDE_CLIP = "the clip range is too wide"
DRIFT = "the last hidden layer drifts away from what the heads read"
LIKELY_ACTIONS = "likely actions are pushed as far as unlikely ones"
FLAT_LOSS = "ratios escape where the clipped loss is flat"


@dataclass(frozen=True)
class Change:
    """Settings to change, and the cause that is shown if they prevent the collapse at equal KL."""

    name: str
    settings: Mapping[str, object]
    meaning: str
    smaller_rate: bool = False  # a control: the run with smaller steps and nothing else

    @property
    def shown(self) -> str:
        """Settings as they are given on a command line."""
        return " ".join(f"{key}={as_given(value)}" for key, value in self.settings.items())


def smaller_rates(learning_rate: float) -> list[Change]:
    """Return the run with smaller steps and nothing else: the control for every change."""
    return [
        Change(f"rate / {divisor}", {"learning_rate": learning_rate / divisor}, LARGE_STEPS, True)
        for divisor in RATES
    ]


def own_change(name: str, settings: Mapping[str, object], learning_rate: float) -> Change:
    """Return a user's own change, for a run with this learning rate."""
    rate = settings.get("learning_rate") if len(settings) == 1 else None
    if isinstance(rate, float | int) and rate < learning_rate:
        return Change(name, settings, LARGE_STEPS, True)
    shown = Change(name, settings, "").shown
    return Change(name, settings, f"what {shown} changes")


def changes_for(params: ResolvedParams, advantage_std: float | None) -> list[Change]:
    """Return the changes that distinguish the possible causes, for a run with these settings."""
    p, clip = params, float(f"{params.clip_range / 4:.3g}")
    limited = p.minibatch_kl_limit is not None  # it ends a fatal update within its first epoch
    stops = not limited and p.target_kl is not None
    whole, always = not limited and not stops, stops and not p.target_kl_if_improved
    off: dict[str, object] = {"target_kl": None, "target_kl_if_improved": False}
    fewer, twice = max(1, p.num_epochs // 3), 2 * p.num_epochs
    floor = FLOOR_SHARE * advantage_std if advantage_std else UNKNOWN_FLOOR
    quarter, rest = divmod(p.num_minibatches, 4)
    shared, likely = p.value_gradient == "shared", p.delta_target_policy == "probability"
    usual = SurrogateChoice()
    clips = p.surrogate_choice._replace(delta_target_policy=usual.delta_target_policy) == usual
    rows: list[tuple[bool, str, dict[str, object], str]] = [
        (not limited, "KL limit per minibatch", {"minibatch_kl_limit": KL_LIMIT}, FAR_STEPS),
        (limited, "no KL limit per minibatch", {"minibatch_kl_limit": None}, LIMIT),
        (whole and p.num_epochs > 1, counted(fewer, "epoch"), {"num_epochs": fewer}, OVERFITTING),
        (whole, "twice the epochs", {"num_epochs": twice}, f"the update ends before {REPAIR}"),
        (stops, "no early stop", off, EARLY_STOP),
        (stops, "2 epochs, no early stop", off | {"num_epochs": 2}, EARLY_STOP),
        (always, "stop only if improved", {"target_kl_if_improved": True}, EARLY_STOP),
        (
            p.normalize_advantages,
            "advantages floored",
            {"advantage_std_floor": float(f"{floor:.3g}")},
            NOISE,
        ),
        (quarter > 1 and not rest, "minibatches x 4 in size", {"num_minibatches": quarter}, SMALL),
        (p.num_minibatches > 1, "whole rollout a minibatch", {"num_minibatches": 1}, SMALL),
        (shared, "value detached", {"value_gradient": "detached"}, VALUE_GRADIENT),
        (True, "beta 2 of 0.9", {"adam_beta_2": 0.9}, LAG),
        (True, "moments reset", {"adam_reset": True}, OLD_MOMENTS),
        (True, "clip range / 4", {"clip_range": clip}, WIDE_CLIP),
        (True, "features held", {"feature_drift_coef": 1.0}, DRIFT),
        (likely, "logit target", {"delta_target_policy": "logit"}, LIKELY_ACTIONS),
        (clips, "quadratic loss", {"quadratic_policy_loss": True}, FLAT_LOSS),
    ]
    return [Change(name, settings, cause) for applies, name, settings, cause in rows if applies]
