"""What the forks of an autopsy show: a table, and the cause."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ppo.autopsy.changes import UNCHANGED, Change
from ppo.system import tables
from ppo.telemetry import intervals

LAST = 3  # the end of a fork is its last third
MEDIAN_OVER = 5  # rollouts in a running median, for the lowest level
HELD = 0.5  # share of the height that a policy must keep; a collapse takes half of it
SIGNIFICANT = 0.05
HEAD = ("change", "settings", "hold", "end (95 %)", "lowest", "KL an update", "gain", "verdict")


@dataclass(frozen=True)
class Outcome:
    """The forks with one change. It has the share of the height that each rollout kept, one array
    for each seed. It also has the mean KL of an update and the surrogate's gain in its last epoch,
    one number for each seed.
    """

    change: Change
    kept: Sequence[np.ndarray]
    kl: np.ndarray
    gain: np.ndarray

    @property
    def end(self) -> np.ndarray:
        """Mean share of the last third, for each seed."""
        return np.array([of[-max(1, len(of) // LAST) :].mean() for of in self.kept])

    @property
    def lowest(self) -> np.ndarray:
        """Lowest median of successive rollouts, for each seed."""
        return np.array([_lowest(of) for of in self.kept])

    @property
    def curve(self) -> np.ndarray:
        """Mean over the seeds, for each update that all of them made."""
        return np.mean([of[: min(map(len, self.kept))] for of in self.kept], axis=0)

    @property
    def held(self) -> int:
        """Number of forks that did not collapse."""
        return int((self.end >= HELD).sum())

    @property
    def forks(self) -> int:
        """Number of forks."""
        return len(self.kept)


def fisher(held: int, of: int, others_held: int, of_others: int) -> float:
    """Return the two-sided p of Fisher's exact test that two groups survive equally often. Given
    the total number of survivors, this is the probability of a split that is no more probable than
    this one.
    """
    total, all_held = of + of_others, held + others_held

    def probability(count: int) -> float:
        ways = math.comb(of, count) * math.comb(of_others, all_held - count)
        return ways / math.comb(total, all_held)

    possible = range(max(0, all_held - of_others), min(of, all_held) + 1)
    here = probability(held)
    return sum(p for p in map(probability, possible) if p <= here * (1 + 1e-9))


def nearest(kl: float, controls: Sequence[Outcome]) -> Outcome:
    """Return the control with the nearest KL, by ratio."""

    def distance(control: Outcome) -> float:
        return abs(math.log(max(control.kl.mean(), 1e-9) / max(kl, 1e-9)))

    return min(controls, key=distance)


def judged(outcome: Outcome, unchanged: Outcome, controls: Sequence[Outcome]) -> str:
    """Return what a change does, compared with the unchanged run. Then compare it with the control
    of the nearest KL, among the smaller rates and the unchanged run.
    """
    control = nearest(float(outcome.kl.mean()), controls)
    if outcome.held <= unchanged.held or not _differ(outcome, unchanged):
        return "falls as well" if outcome.held <= outcome.forks / 2 else "cannot be told apart"
    if _differ(outcome, control) and outcome.held > control.held:
        return f"prevents it at equal KL ({control.change.name} holds {control.held})"
    return f"prevents it as smaller steps do ({control.change.name} holds {control.held})"


def causes(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the changes that prevent the collapse at equal KL, with the change that keeps most
    first.
    """
    unchanged, controls, changed = parted(outcomes)
    found = [of for of in changed if "equal KL" in judged(of, unchanged, controls)]
    return sorted(found, key=lambda of: -of.end.mean())


def parted(outcomes: Sequence[Outcome]) -> tuple[Outcome, list[Outcome], list[Outcome]]:
    """Return the unchanged run, the controls and the changes. The controls are the unchanged run
    and the smaller learning rates.
    """
    unchanged = next(of for of in outcomes if of.change.name == UNCHANGED)
    rates = [of for of in outcomes if of.change.smaller_rate]
    changed = [of for of in outcomes if of is not unchanged and of not in rates]
    return unchanged, [unchanged, *rates], changed


def verdict(outcomes: Sequence[Outcome]) -> str:
    """Return the cause in words."""
    unchanged, controls, _ = parted(outcomes)
    again = unchanged.forks - unchanged.held
    said = f"Unchanged, {again} of {unchanged.forks} forks fall."
    if unchanged.held > unchanged.forks / 5:
        return f"{said} The fall depends on chance: fork earlier, or with more seeds."
    forks = unchanged.forks
    if fisher(forks, forks, 0, forks) >= SIGNIFICANT:
        return f"{said} {forks} forks of each are too few to tell a difference: give more seeds."
    found = causes(outcomes)
    if found:
        lines = [
            f"- **{of.change.meaning}**: with `{of.change.shown}` {of.held} of {of.forks} hold"
            for of in found
        ]
        return "\n".join([f"{said} What prevents it at equal KL:", "", *lines])
    holding = [of for of in controls[1:] if _differ(of, unchanged) and of.held > unchanged.held]
    if holding:
        largest = max(holding, key=lambda of: of.kl.mean())
        return (
            f"{said} No change prevents it at equal KL, but smaller steps do: **the steps are too "
            f"large** (`{largest.change.shown}`: {largest.held} of {largest.forks} hold)."
        )
    return f"{said} Nothing that was tried prevents it, not even smaller steps."


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table with one row for each change."""
    unchanged, controls, changed = parted(outcomes)
    rows = []
    for of in [*controls, *changed]:
        low, high = intervals.bootstrap(of.end)
        rows.append(
            [
                of.change.name,
                f"`{of.change.shown or '-'}`",
                f"{of.held} of {of.forks}",
                f"{of.end.mean():.2f} ({low:.2f} to {high:.2f})",
                f"{of.lowest.mean():.2f}",
                f"{of.kl.mean():.3f}",
                f"{of.gain.mean():+.3f}",
                "" if of in controls else judged(of, unchanged, controls),
            ]
        )
    return tables.markdown(HEAD, rows, "llrrrrr")


def _lowest(kept: np.ndarray) -> float:
    lasts = range(MEDIAN_OVER, len(kept) + 1) or [len(kept)]
    return float(min(np.median(kept[max(0, n - MEDIAN_OVER) : n]) for n in lasts))


def _differ(one: Outcome, other: Outcome) -> bool:
    return fisher(one.held, one.forks, other.held, other.forks) < SIGNIFICANT
