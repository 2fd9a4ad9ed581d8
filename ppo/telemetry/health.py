"""Whether a run's scalars are within the limits of healthy runs, and what to do if not."""

from collections import Counter
from collections.abc import Mapping

from ppo.settings import Params
from ppo.telemetry.scalars import metric_of

ENTRIES = 5  # log entries in a row outside the limits before a message

# The limits of these scalars hold only for rewards of -1, 0 and 1.
OF_CLIPPED_REWARDS = frozenset(["train/grad_norm", "train/grad_cut", "train/advantage_scale"])
# Normalised advantages have no unit; others have points.
OF_NORMALISED_ADVANTAGES = frozenset(["train/policy_gradient_loss", "train/surrogate_gain_last"])
# They rise towards 1 as the clip range falls to 0.
OF_CONSTANT_CLIP = frozenset(["train/clip_fraction", "train/beyond_target"])


def ignored(params: Params) -> frozenset[str]:
    """Return the scalars whose limits do not hold for such a run."""
    without: set[str] = set()
    if params.clip_rewards is False:
        without |= OF_CLIPPED_REWARDS
    if not params.normalize_advantages:
        without |= OF_NORMALISED_ADVANTAGES
    if params.clip_range_schedule != "constant":
        without |= OF_CONSTANT_CLIP
    if (params.value_gradient or params.usual_value_gradient) != "shared":
        without.add("train/pseudo_entropy")
    return frozenset(without)


class Health:
    """Watches log entries, and reports each cause of scalars outside their limits once."""

    def __init__(self, params: Params | None = None) -> None:
        """``params`` are the run's settings, if they are known."""
        self._ignored = ignored(params) if params else frozenset()
        self._outside: Counter[str] = Counter()  # entries in a row, by scalar
        self._reported: set[str] = set()

    def see(self, scalars: Mapping[str, float]) -> list[str]:
        """Return messages about scalars that have now been outside their limits for ENTRIES entries
        in a row. An entry without a scalar leaves its count unchanged.
        """
        messages = []
        for tag, value in scalars.items():
            if tag in self._ignored:
                continue
            metric = metric_of(tag)
            self._outside[tag] = self._outside[tag] + 1 if metric.outside(value) else 0
            cause = metric_of(metric.cause or tag)
            if self._outside[tag] >= ENTRIES and cause.tag not in self._reported:
                self._reported.add(cause.tag)
                remedy = cause.remedy.removeprefix("above: ")
                messages.append(
                    f"last {ENTRIES} log entries: {tag} is {value:.3g} (healthy {metric.limits}). "
                    f"{remedy[0].upper()}{remedy[1:]}"
                )
        return messages
