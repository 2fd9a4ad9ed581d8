"""The tables of docs/collapse.md, from the forks that benchmarks.collapses has stored.

Agents are the sample: a fork's numbers are one agent's answer to one change. Intervals resample
agents. A change is compared with the unchanged forks of the same agents by a sign-flip test over
all assignments of signs, and p is corrected for the number of changes (Holm 1979).
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.collapses import Fork
from ppo.autopsy.changes import UNCHANGED, smaller_rates
from ppo.system import tables
from ppo.telemetry.intervals import shown

RANDOM_PLAY = -0.0235  # points a step of random actions
LAST, LOWEST_OVER = 20, 5  # updates
CONTROLS = tuple(change.name for change in smaller_rates(1.0))


def shares(forks: Sequence[Fork]) -> dict[tuple[str, int], np.ndarray]:
    """The share of its agent's points that each fork has in each update, by change and agent.

    1 is the mean of the agent's first rollouts, which all its forks play before they learn, and 0
    is random play.
    """
    starts: dict[int, list[float]] = {}
    for fork in forks:
        starts.setdefault(fork.agent, []).append(fork.points[0])
    height = {agent: float(np.mean(first)) - RANDOM_PLAY for agent, first in starts.items()}
    return {
        (fork.change, fork.agent): (np.array(fork.points) - RANDOM_PLAY) / height[fork.agent]
        for fork in forks
    }


def lowest(share: np.ndarray) -> float:
    """The lowest mean of LOWEST_OVER updates in a row."""
    window = np.ones(LOWEST_OVER) / LOWEST_OVER
    return float(np.convolve(share, window, "valid").min())


def sign_flip(differences: np.ndarray) -> float:
    """The two-sided p of paired differences [n]: the share of all 2^n assignments of signs whose
    mean is at least as far from 0."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(differences))))
    means = np.abs((signs * differences).mean(1))
    return float((means >= abs(differences.mean()) * (1 - 1e-9)).mean())


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """The values of p corrected for their number, by Holm's step-down."""
    corrected, largest, left = {}, 0.0, len(values)
    for name in sorted(values, key=lambda name: values[name]):
        largest = max(largest, min(1.0, values[name] * left))
        corrected[name], left = largest, left - 1
    return corrected


def at_equal_kl(kl: float, controls: Sequence[tuple[float, float]]) -> float:
    """The end of a fork with smaller steps that moves the policy as far: between the controls (KL,
    end) it is linear in the logarithm of the KL, beyond them it is the nearest one's."""
    logs, ends = np.array(sorted((np.log(one), end) for one, end in controls)).T
    return float(np.interp(np.log(kl), logs, ends))


def interventions(forks: Sequence[Fork]) -> str:
    """The table of the interventions, each beside the unchanged forks and beside equal KL."""
    forks = [fork for fork in forks if fork.plan == "interventions"]
    share, kl = shares(forks), {(fork.change, fork.agent): _kl(fork) for fork in forks}
    end = {key: float(one[-LAST:].mean()) for key, one in share.items()}
    agents = sorted({fork.agent for fork in forks if (UNCHANGED, fork.agent) in end})
    names = dict.fromkeys(fork.change for fork in forks)
    whole = [name for name in names if all((name, agent) in end for agent in agents)]
    ends = {name: np.array([end[name, agent] for agent in agents]) for name in whole}
    differences = {
        name: values - ends[UNCHANGED]
        for name, values in ends.items()
        if name not in (UNCHANGED, *CONTROLS)
    }
    p = holm({name: sign_flip(values) for name, values in differences.items()})
    rows = []
    for name in whole:
        low = np.mean([lowest(share[name, agent]) for agent in agents])
        medians = [kl[name, agent] for agent in agents]
        equal = [
            at_equal_kl(one, [(kl[c, a], end[c, a]) for c in (UNCHANGED, *CONTROLS)])
            for one, a in zip(medians, agents, strict=True)
        ]
        compared = shown(differences[name]) if name in differences else ""
        corrected = f"{p[name]:.3f}" if name in p else ""
        beyond = shown(ends[name] - equal) if name in differences else ""
        cells = [f"{low:.2f}", shown(ends[name]), f"{np.median(medians):.3f}"]
        rows.append([name, str(len(agents)), *cells, compared, corrected, beyond])
    head = ["change", "agents", "lowest", "end", "KL", "end - unchanged", "p", "end - equal KL"]
    return tables.markdown(head, rows, "lrrrrrrr").rstrip()


def grid(forks: Sequence[Fork]) -> str:
    """The map: mean end of the agents' forks by rate and epochs, with the lowest in brackets."""
    forks = [fork for fork in forks if fork.plan == "map"]
    share = shares(forks)
    cells: dict[tuple[float, int], list[np.ndarray]] = {}
    for fork in forks:
        place = fork.settings["learning_rate"], fork.settings["num_epochs"]
        cells.setdefault(place, []).append(share[fork.change, fork.agent])
    rates, epochs = sorted({key[0] for key in cells}), sorted({key[1] for key in cells})

    def cell(place: tuple[float, int]) -> str:
        made = cells.get(place, [])
        ends, lows = [one[-LAST:].mean() for one in made], [lowest(one) for one in made]
        return f"{np.mean(ends):.2f} ({np.mean(lows):.2f})" if made else "-"

    rows = [[f"{one:g}", *(cell((one, many)) for many in epochs)] for one in rates]
    head = ["rate", *(f"{many} epochs" for many in epochs)]
    return tables.markdown(head, rows, "r" * len(head)).rstrip()


def _kl(fork: Fork) -> float:
    return max(float(np.median(fork.kl)), 1e-9)
