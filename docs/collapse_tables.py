"""The tables of docs/collapse.md, from the forks that benchmarks.collapses has stored.

Agents are the sample: a fork's numbers are one agent's answer to one change. Intervals are over
agents. A change is compared with the unchanged forks of the same agents by a permutation test, and
p is corrected for the number of changes in its family (Holm 1979).
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.collapses import CONTROLS, FAMILIES, PLACEBO, RATE, UPDATES, Fork, changes
from ppo.autopsy.changes import UNCHANGED
from ppo.system import tables
from ppo.system.streams import counted
from ppo.telemetry.intervals import shown

CHANGES = "changes-x16"  # the plan of the changes at the dose
RANDOM_PLAY = -0.02191  # points a step, by --random-play=200
LAST, LOWEST_OVER = 20, 5  # updates
FALLEN = 0.5  # a fork that ends below has collapsed
EPOCHS = 6  # of the trained settings, at which the dose is chosen
FROZEN = 0.001  # mean pseudo-entropy of the last updates, below which a policy is deterministic
MOST_MISSING = 1  # agents whose KL is outside the range of the controls


def height(fork: Fork) -> np.ndarray:
    """The fork's points in each update [UPDATES], scaled: 1 is its agent before the fork, and 0 is
    random play. A fork that diverged has 0 in the updates that it does not make.
    """
    points = np.array(fork.logged["points"], float)
    scaled = (points - RANDOM_PLAY) / (fork.height - RANDOM_PLAY)
    return np.append(scaled, np.zeros(UPDATES - len(scaled)))


def end(fork: Fork) -> float:
    """The mean height of the last LAST updates."""
    return float(height(fork)[-LAST:].mean())


def lowest(fork: Fork) -> float:
    """The lowest mean height of LOWEST_OVER updates in a row."""
    window = np.ones(LOWEST_OVER) / LOWEST_OVER
    return float(np.convolve(height(fork), window, "valid").min())


def first_kl(fork: Fork) -> float:
    """The KL of the first update, the size of the step: a collapsed policy may hardly move. It is
    infinite if that update diverged.
    """
    first = fork.logged["kl"][:1]
    return first[0] if first and first[0] is not None else np.inf


def last_entropy(fork: Fork) -> float:
    """The mean pseudo-entropy of the last LAST updates."""
    return float(np.mean(np.array(fork.logged["entropy"][-LAST:], float)))


def is_frozen(fork: Fork) -> bool:
    """Whether the policy was deterministic in the last LAST updates."""
    return last_entropy(fork) < FROZEN


def permutation(one: np.ndarray, other: np.ndarray) -> float:
    """The two-sided p of two samples [n] and [m]: the share of all ways to divide their values into
    such samples whose means differ at least as much. It ignores that forks of the same agent are
    pairs, which only makes p larger if they are alike.
    """
    values, size = np.concatenate([one, other]), len(one)
    chosen = np.array(list(itertools.combinations(range(len(values)), size)))
    means = values[chosen].mean(1)
    gaps = np.abs(means - (values.sum() - size * means) / len(other))
    rounding = 1e-12 * np.abs(values).max()
    return float((gaps >= abs(one.mean() - other.mean()) * (1 - 1e-9) - rounding).mean())


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """The values of p corrected for their number, by Holm's step-down."""
    corrected, largest, left = {}, 0.0, len(values)
    for name in sorted(values, key=lambda name: values[name]):
        largest = max(largest, min(1.0, values[name] * left))
        corrected[name], left = largest, left - 1
    return corrected


def falling(values: np.ndarray) -> np.ndarray:
    """The sequence that never rises and is nearest to ``values`` in squares (isotonic regression,
    by pooling neighbours that rise).
    """
    pools: list[list[float]] = []
    for value in values:
        pools.append([value])
        while len(pools) > 1 and np.mean(pools[-2]) < np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    return np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])


def at_equal_kl(kl: float, controls: Sequence[tuple[float, float]]) -> float:
    """The end of a fork with another rate that moves the policy as far. Of the controls, (KL, end),
    the end is made to fall with the KL. Between them it is linear in the logarithm of the KL; NaN
    outside those that are finite.
    """
    kls, ends = np.array(sorted(controls)).T
    if not kls[0] <= kl <= kls[np.isfinite(kls)].max(initial=-np.inf):
        return np.nan
    return float(np.interp(np.log(kl), np.log(kls), falling(ends)))


def dose(forks: Sequence[Fork]) -> float:
    """The smallest rate of the map, with EPOCHS epochs, at which each agent's fork collapses, or
    the largest; in multiples of RATE.
    """
    ends: dict[float, list[float]] = {}
    for fork in forks:
        if fork.plan == "map" and fork.settings["num_epochs"] == EPOCHS:
            ends.setdefault(fork.settings["learning_rate"] / RATE, []).append(end(fork))
    return min((rate for rate, of_rate in ends.items() if max(of_rate) < FALLEN), default=max(ends))


def grid(forks: Sequence[Fork]) -> str:
    """The map: for each rate and number of epochs the agents' mean end, their mean lowest height,
    the mean KL, and how many collapsed.
    """
    cells: dict[tuple[float, int], list[Fork]] = {}
    for fork in forks:
        if fork.plan == "map":
            place = fork.settings["learning_rate"], fork.settings["num_epochs"]
            cells.setdefault(place, []).append(fork)
    rates, epochs = sorted({key[0] for key in cells}), sorted({key[1] for key in cells})

    def cell(made: Sequence[Fork]) -> str:
        if not made:
            return "-"
        ends = [end(fork) for fork in made]
        low, kl = np.mean([lowest(fork) for fork in made]), np.mean([*map(first_kl, made)])
        fallen = sum(one < FALLEN for one in ends)
        return f"{np.mean(ends):.2f} ({low:.2f}), KL {kl:.2f}, {fallen} of {len(ends)}"

    rows = [
        [f"x {one / RATE:g}", *(cell(cells.get((one, many), [])) for many in epochs)]
        for one in rates
    ]
    head = ["rate", *(counted(many, "epoch") for many in epochs)]
    return tables.markdown(head, rows, "r" * len(head)).rstrip()


def interventions(forks: Sequence[Fork], plan: str = CHANGES) -> str:
    """The table of a plan's changes, each beside the unchanged forks and beside equal KL. A change
    that some agent lacks is left out.
    """
    made = {(fork.change, fork.agent): fork for fork in forks if fork.plan == plan}
    names, agents = changes("changes", 1), sorted({agent for _, agent in made})
    whole = [name for name in names if all((name, agent) in made for agent in agents)]
    ends = {name: np.array([end(made[name, agent]) for agent in agents]) for name in whole}
    kl = {name: np.array([first_kl(made[name, agent]) for agent in agents]) for name in whole}
    equal = {name: _equal(kl[name], kl, ends) for name in whole}
    p = {name: permutation(ends[name], ends[UNCHANGED]) for name in whole}
    better = _corrected(p) | {name: p[name] for name in (PLACEBO,) if name in p}
    inside = {name: ~np.isnan(equal[name]) for name in whole}
    beyond = _corrected(
        {
            name: permutation(ends[name][these], equal[name][these])
            for name, these in inside.items()
            if these.sum() >= max(1, len(agents) - MOST_MISSING)
        }
    )
    rows = []
    for name in whole:
        low = np.mean([lowest(made[name, agent]) for agent in agents])
        counts = [str((ends[name] < limit).sum()) for limit in (FALLEN, 0)]
        counts.append(str(sum(is_frozen(made[name, agent]) for agent in agents)))
        sizes = f"{np.median(kl[name]):.2f}", f"{low:.2f}", shown(ends[name])
        compared = shown(ends[name] - ends[UNCHANGED]), _p(better, name)
        gaps = (ends[name] - equal[name])[inside[name]]
        gap = shown(gaps) if name in beyond else "-"
        rows.append([name, *sizes, *counts, *compared, gap, _p(beyond, name)])
    head = ["change", "KL", "lowest", "end", "collapsed", "below random", "frozen"]
    head += ["end - unchanged", "p", "end - equal KL", "p"]
    return tables.markdown(head, rows, "l" + "r" * (len(head) - 1)).rstrip()


def other_games(forks: Sequence[Fork], plan: str = CHANGES) -> str:
    """The table of a plan's forks of runs of other games: the share kept of the points a step."""
    rows = []
    for fork in forks:
        if fork.plan.startswith(f"{plan}-"):
            game = fork.plan.removeprefix(f"{plan}-").removesuffix("NoFrameskip-v4")
            share = np.mean(np.array(fork.logged["points"][-LAST:], float)) / fork.height
            numbers = f"{first_kl(fork):.2f}", f"{share:.2f}", f"{last_entropy(fork):.3f}"
            rows.append([game, fork.change, *numbers, "yes" if is_frozen(fork) else "no"])
    head = ["game", "change", "KL", "end", "pseudo-entropy", "frozen"]
    return tables.markdown(head, rows, "llrrrl").rstrip()


def _equal(
    kl: np.ndarray, kls: Mapping[str, np.ndarray], ends: Mapping[str, np.ndarray]
) -> np.ndarray:
    """For each agent the end of its forks with other rates, at a change's KL [agents]."""
    controls = [name for name in (UNCHANGED, *CONTROLS) if name in ends]
    return np.array(
        [
            at_equal_kl(one, [(kls[name][agent], ends[name][agent]) for name in controls])
            for agent, one in enumerate(kl)
        ]
    )


def _corrected(p: Mapping[str, float]) -> dict[str, float]:
    """p of each change that is in a family, corrected within it."""
    corrected: dict[str, float] = {}
    for family in FAMILIES.values():
        corrected |= holm({name: p[name] for name in family if name in p})
    return corrected


def _p(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.3f}" if name in values else ""
