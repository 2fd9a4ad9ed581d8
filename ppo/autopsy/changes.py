"""The changes of an autopsy, and what it means if one of them prevents the collapse."""

from collections.abc import Mapping
from dataclasses import dataclass

from ppo.settings import ResolvedParams, SurrogateChoice
from ppo.settings.describe import as_given
from ppo.system.streams import counted

UNCHANGED = "unchanged"
RATES = (2, 4, 8)  # divisors of the learning rate, for the effect of smaller steps alone
FLOOR_SHARE = 5.0  # times the standard deviation of the advantages before the collapse
UNKNOWN_FLOOR = 0.3  # for a log without that value: about the value in early Pong training
KL_LIMIT = 0.05
LARGE_STEPS = "the steps are too large"


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
    return [
        *_limit_changes(params),
        *_epoch_changes(params),
        *_gradient_changes(params, advantage_std),
        *_objective_changes(params),
    ]


def _limit_changes(params: ResolvedParams) -> list[Change]:
    if params.minibatch_kl_limit is None:
        meaning = "single steps within an update go too far"
        return [Change("KL limit per minibatch", {"minibatch_kl_limit": KL_LIMIT}, meaning)]
    meaning = "the KL limit ends the update before later steps repair what its first ones broke"
    return [Change("no KL limit per minibatch", {"minibatch_kl_limit": None}, meaning)]


def _epoch_changes(params: ResolvedParams) -> list[Change]:
    if params.minibatch_kl_limit is not None:
        return []  # the limit ends a fatal update within its first epoch
    many, repair = params.num_epochs, "later epochs repair what its first steps broke"
    if params.target_kl is None:
        fewer, changes = max(1, many // 3), []
        if many > 1:
            meaning = "later epochs overfit the rollout"
            changes = [Change(counted(fewer, "epoch"), {"num_epochs": fewer}, meaning)]
        twice = {"num_epochs": 2 * many}
        return [*changes, Change("twice the epochs", twice, f"the update ends before {repair}")]
    meaning = f"early stopping ends the update before {repair}"
    off: dict[str, object] = {"target_kl": None, "target_kl_if_improved": False}
    changes = [
        Change("no early stop", off, meaning),
        Change("2 epochs, no early stop", off | {"num_epochs": 2}, meaning),
    ]
    if not params.target_kl_if_improved:
        changes.append(Change("stop only if improved", {"target_kl_if_improved": True}, meaning))
    return changes


def _gradient_changes(params: ResolvedParams, advantage_std: float | None) -> list[Change]:
    changes = []
    if params.normalize_advantages:
        floor = FLOOR_SHARE * advantage_std if advantage_std else UNKNOWN_FLOOR
        meaning = "normalising blows the advantages' noise up to the size of a signal"
        settings = {"advantage_std_floor": _short(floor)}
        changes.append(Change("advantages floored", settings, meaning))
    meaning = "the gradient of so small a minibatch is noise"
    quarter, rest = divmod(params.num_minibatches, 4)
    if quarter > 1 and not rest:
        changes.append(Change("minibatches x 4 in size", {"num_minibatches": quarter}, meaning))
    if params.num_minibatches > 1:
        changes.append(Change("whole rollout a minibatch", {"num_minibatches": 1}, meaning))
    if params.value_gradient == "shared":
        meaning = "the value's gradient drives the shared trunk"
        changes.append(Change("value detached", {"value_gradient": "detached"}, meaning))
    lag, other = "Adam's second moment lags behind the gradient", "another policy's gradients"
    return [
        *changes,
        Change("beta 2 of 0.9", {"adam_beta_2": 0.9}, lag),
        Change("moments reset", {"adam_reset": True}, f"Adam's moments are of {other}"),
    ]


def _objective_changes(params: ResolvedParams) -> list[Change]:
    clip = _short(params.clip_range / 4)
    drift = "the last hidden layer drifts away from what the heads read"
    changes = [
        Change("clip range / 4", {"clip_range": clip}, "the clip range is too wide"),
        Change("features held", {"feature_drift_coef": 1.0}, drift),
    ]
    if params.delta_target_policy == "probability":
        meaning = "likely actions are pushed as far as unlikely ones"
        changes.append(Change("logit target", {"delta_target_policy": "logit"}, meaning))
    usual = SurrogateChoice()
    if params.surrogate_choice._replace(delta_target_policy=usual.delta_target_policy) == usual:
        meaning = "ratios escape where the clipped loss is flat"
        changes.append(Change("quadratic loss", {"quadratic_policy_loss": True}, meaning))
    return changes


def _short(value: float) -> float:
    """Round a number to three significant digits."""
    return float(f"{value:.3g}")
