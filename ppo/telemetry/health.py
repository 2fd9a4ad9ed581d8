"""Whether a run's scalars are within the limits of healthy runs, and what to do if not."""

from collections import defaultdict
from collections.abc import Mapping

from ppo.telemetry.scalars import Metric, metric_of

ENTRIES = 5  # log entries in a row outside the limits before a message


class Health:
    """Watches log entries, and reports once for each scalar that is outside its limits."""

    def __init__(self) -> None:
        self._outside: defaultdict[str, int] = defaultdict(int)
        self._known: dict[str, Metric | None] = {}

    def see(self, scalars: Mapping[str, float]) -> list[str]:
        """Return messages about scalars that have now been outside their limits for ENTRIES entries
        in a row. An entry without a scalar leaves its count unchanged.
        """
        said = []
        for tag, value in scalars.items():
            if tag not in self._known:
                self._known[tag] = metric_of(tag)
            metric = self._known[tag]
            if metric is None:
                continue
            self._outside[tag] = self._outside[tag] + 1 if metric.outside(value) else 0
            if self._outside[tag] == ENTRIES:
                said.append(
                    f"{tag} is {value:.3g}, healthy {metric.limits}, in {ENTRIES} log entries "
                    f"in a row: {metric.remedy}"
                )
        return said
