"""What the forks of an autopsy show: a table, and the cause."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ppo.autopsy.changes import LARGE_STEPS, UNCHANGED, Change
from ppo.system import tables
from ppo.telemetry import intervals
from ppo.telemetry.collapse import BOTTOM_OVER

LAST = 3  # the end of a fork is its last third
SURVIVES = 0.5  # share of the height; a fork that ends below it has collapsed
SIGNIFICANT = 0.05
EQUAL = 1.5  # largest ratio of two KLs that count as equal
HEAD = ("change", "settings", "survive", "end (95 %)", "lowest", "KL an update", "gain", "verdict")


# What a change does, in the words of the table.
COLLAPSES = "collapses as well"
INCONCLUSIVE = "inconclusive"
NOT_COMPARED = "prevents it, without a control of equal KL"
AS_SMALLER_STEPS = "prevents it as smaller steps do"
PREVENTS = "prevents it at equal KL"


@dataclass(frozen=True)
class Outcome:
    """The forks with one change, one for each seed."""

    change: Change
    kept: Sequence[np.ndarray]  # for each fork, the share of the height that each rollout kept
    kl: np.ndarray  # for each fork, the mean KL of an update
    gain: np.ndarray  # for each fork, the mean gain of the surrogate in an update's last epoch

    @property
    def end(self) -> np.ndarray:
        """Mean share of the last third, for each seed."""
        return np.array([kept[-max(1, len(kept) // LAST) :].mean() for kept in self.kept])

    @property
    def lowest(self) -> np.ndarray:
        """Lowest median of BOTTOM_OVER successive rollouts, for each seed."""
        windows = (sliding_window_view(kept, min(BOTTOM_OVER, len(kept))) for kept in self.kept)
        return np.array([np.median(window, -1).min() for window in windows])

    @property
    def curve(self) -> np.ndarray:
        """Mean over the seeds, for each update that all of them made."""
        return np.mean([kept[: min(map(len, self.kept))] for kept in self.kept], axis=0)

    @property
    def survivors(self) -> int:
        """Number of forks that did not collapse."""
        return int((self.end >= SURVIVES).sum())

    @property
    def forks(self) -> int:
        return len(self.kept)


def fisher(survivors: int, forks: int, other_survivors: int, other_forks: int) -> float:
    """Return the two-sided p of Fisher's exact test that two groups survive equally often. It is
    the probability, given the total of survivors, of a split at most as probable as this one.
    """
    total, all_survivors = forks + other_forks, survivors + other_survivors

    def probability(count: int) -> float:
        ways = math.comb(forks, count) * math.comb(other_forks, all_survivors - count)
        return ways / math.comb(total, all_survivors)

    possible = range(max(0, all_survivors - other_forks), min(forks, all_survivors) + 1)
    observed = probability(survivors)
    return sum(p for p in map(probability, possible) if p <= observed * (1 + 1e-9))


def nearest(kl: float, controls: Sequence[Outcome]) -> Outcome | None:
    """Return the control with the nearest KL, by ratio; None if none is EQUAL."""
    ratios = [max(control.kl.mean(), 1e-9) / max(kl, 1e-9) for control in controls]
    distances = np.nan_to_num(np.abs(np.log(ratios)), nan=np.inf)  # NaN: diverged at once
    return controls[int(distances.argmin())] if distances.min() <= math.log(EQUAL) else None


def effect(outcome: Outcome, unchanged: Outcome, controls: Sequence[Outcome]) -> str:
    """Return what a change does, compared with the unchanged run and the control of equal KL."""
    if not _survives_more(outcome, unchanged):
        return COLLAPSES if outcome.survivors <= outcome.forks / 2 else INCONCLUSIVE
    control = nearest(float(outcome.kl.mean()), controls)
    if control is None:
        return NOT_COMPARED
    result = PREVENTS if _survives_more(outcome, control) else AS_SMALLER_STEPS
    return f"{result} ({control.survivors} of {control.forks} survive with {control.change.name})"


def by_role(outcomes: Sequence[Outcome]) -> tuple[Outcome, list[Outcome], list[Outcome]]:
    """Return the unchanged run, the controls (with it, the smaller rates) and the changes."""
    unchanged = next(outcome for outcome in outcomes if outcome.change.name == UNCHANGED)
    rates = [outcome for outcome in outcomes if outcome.change.smaller_rate]
    changed = [outcome for outcome in outcomes if outcome is not unchanged and outcome not in rates]
    return unchanged, [unchanged, *rates], changed


def verdict(outcomes: Sequence[Outcome]) -> str:
    """Return the cause in words."""
    unchanged, controls, changed = by_role(outcomes)
    again = unchanged.forks - unchanged.survivors
    summary = f"Unchanged, {again} of {unchanged.forks} forks collapse."
    if unchanged.survivors > unchanged.forks / 5:
        return f"{summary} The collapse depends on chance: fork earlier, or with more seeds."
    forks = unchanged.forks
    if fisher(forks, forks, 0, forks) >= SIGNIFICANT:
        return f"{summary} {forks} forks of each are too few to tell a difference: give more seeds."
    best_first = sorted(changed, key=lambda outcome: -outcome.end.mean())
    for wanted in (PREVENTS, NOT_COMPARED):
        lines = [
            f"- **{outcome.change.meaning}**: with `{outcome.change.shown}` "
            f"{outcome.survivors} of {outcome.forks} survive"
            for outcome in best_first
            if effect(outcome, unchanged, controls).startswith(wanted)
        ]
        if lines:
            return "\n".join([f"{summary} What {wanted}:", "", *lines])
    if better := [control for control in controls if _survives_more(control, unchanged)]:
        largest = max(better, key=lambda outcome: outcome.kl.mean())
        return (
            f"{summary} No change prevents it at equal KL, but smaller steps do: **{LARGE_STEPS}** "
            f"(`{largest.change.shown}`: {largest.survivors} of {largest.forks} survive)."
        )
    return f"{summary} Nothing that was tried prevents it, not even smaller steps."


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table with one row for each change."""
    unchanged, controls, changed = by_role(outcomes)
    rows = [
        (
            outcome.change.name,
            f"`{outcome.change.shown or '-'}`",
            f"{outcome.survivors} of {outcome.forks}",
            intervals.shown(outcome.end),
            f"{outcome.lowest.mean():.2f}",
            f"{outcome.kl.mean():.3f}",
            f"{outcome.gain.mean():+.3f}",
            "" if outcome in controls else effect(outcome, unchanged, controls),
        )
        for outcome in [*controls, *changed]
    ]
    return tables.markdown(HEAD, rows, "llrrrrr")


def _survives_more(outcome: Outcome, other: Outcome) -> bool:
    p = fisher(outcome.survivors, outcome.forks, other.survivors, other.forks)
    return outcome.survivors > other.survivors and p < SIGNIFICANT
