"""Runs that learn Pong from scratch at larger rates: kept from the folder of a sweep, with their
table and figure for docs/collapse.md.

    python -m docs.from_scratch --sweep=runs/scratch-x4 --machine="two cores of an Intel Xeon"

A run is kept as a fork is (benchmarks.collapses): its agent is its seed, and its height is its best
mean of 100 games.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.collapses import FAMILIES, RATE, Fork, add, load, short
from docs.collapse_tables import holm, permutation
from ppo import checkpoint, params, presets
from ppo.autopsy.changes import UNCHANGED
from ppo.envs.human import PUBLISHED
from ppo.envs.registry import resolved
from ppo.errors import PPOError
from ppo.files.folder import RunFolder
from ppo.settings import INCIDENTAL
from ppo.system import tables
from ppo.system.arguments import argument_parser, expanded
from ppo.telemetry import progress
from ppo.telemetry.intervals import shown
from ppo.telemetry.scalars import SCORE

RUNS = Path(__file__).resolve().with_name("scratch.jsonl")
RANDOM_GAME = PUBLISHED["pong"][0]  # points of a game of random play
OF_ALL = ["total_steps=600000", "precision=float32", "threads=1"]
OWN = {"learning_rate", "seed"} | INCIDENTAL
KEPT = {
    "step": "step",
    "score": SCORE,
    "kl": "train/approx_kl",
    "entropy": "train/pseudo_entropy",
}


def learnt(folder: Path, machine: str) -> Fork:
    """What the log of a run that ended says. Raises PPOError if its settings are not those of the
    preset pong with one change of family A, or none.
    """
    settings = resolved(params.load_run(RunFolder(folder).params))
    usual = resolved(params.load(presets.find("pong"), OF_ALL)).model_dump()
    rows = progress.numbers(folder)
    own = {
        key: value
        for key, value in settings.model_dump().items()
        if key not in OWN and value != usual[key]
    }
    known = {UNCHANGED: {}, **FAMILIES["A"]}
    names = [name for name, change in known.items() if change == own]
    if not names:
        raise PPOError(f"{folder} has other settings than the preset pong with one change: {own}")
    logged = {name: [short(row.get(tag)) for row in rows] for name, tag in KEPT.items()}
    best = max(row.get(SCORE, RANDOM_GAME) for row in rows)
    plan = f"scratch-x{settings.learning_rate / RATE:g}"
    return Fork(plan, names[0], own, settings.seed, best, logged, machine)


def scores(run: Fork) -> np.ndarray:
    """The means of the last 100 games of the run; of random play while no game has ended."""
    return np.array([RANDOM_GAME if one is None else one for one in run.logged["score"]])


def final(run: Fork) -> float:
    """The final score: the mean of the run's last 100 games."""
    return float(scores(run)[-1])


def has_collapsed(run: Fork) -> bool:
    """Whether the final score is below the middle between the best score and random play."""
    return final(run) < (run.height + RANDOM_GAME) / 2


def by_change(runs: Sequence[Fork]) -> dict[str, dict[str, dict[int, Fork]]]:
    """The runs by rate, change and seed; the unchanged ones of a rate come first."""
    names = [UNCHANGED, *FAMILIES["A"]]
    made: dict[str, dict[str, dict[int, Fork]]] = {}
    for run in sorted(runs, key=lambda run: (run.plan, names.index(run.change), run.agent)):
        rate = run.plan.replace("scratch-x", "x ")
        made.setdefault(rate, {}).setdefault(run.change, {})[run.agent] = run
    return made


def table(runs: Sequence[Fork]) -> str:
    """A row for each rate and change: its final scores, beside the unchanged ones at that rate."""
    rows = []
    for rate, made in by_change(runs).items():
        ends = {name: [*map(final, of_seed.values())] for name, of_seed in made.items()}
        plain, changed = made[UNCHANGED], [name for name in made if name != UNCHANGED]
        unchanged = np.array(ends[UNCHANGED])
        p = holm({name: permutation(np.array(ends[name]), unchanged) for name in changed})
        for name, of_seed in made.items():
            values = shown(np.array(ends[name])), " ".join(f"{end:.1f}" for end in ends[name])
            cells = [*values, f"{sum(map(has_collapsed, of_seed.values()))}", "", ""]
            if name in p:
                pairs = [
                    final(of_seed[seed]) - final(plain[seed])
                    for seed in plain.keys() & of_seed.keys()
                ]
                cells[-2:] = shown(np.array(pairs)), f"{p[name]:.3f}"
            rows.append([rate, name, *cells])
    head = ["rate", "change", "final score", "of each seed", "collapsed", "- unchanged", "p"]
    return tables.markdown(head, rows, "llrrrrr").rstrip()


def main() -> None:
    """Keep the runs of a sweep that have ended, and name the others."""
    parser = argument_parser("docs.from_scratch", __doc__)
    parser.add_argument("--sweep", type=expanded, required=True, metavar="DIR")
    parser.add_argument("--machine", required=True)
    options = parser.parse_args()
    made = []
    for path in sorted(options.sweep.glob("*/*/params.json")):
        total = params.load_run(path).total_steps
        if checkpoint.newest(RunFolder(path.parent)).step >= total:
            made.append(learnt(path.parent, options.machine))
        else:
            print(f"{path.parent} has not come to its end and is left out")
    add(RUNS, made)


def kept() -> list[Fork]:
    """The runs that are in the repository."""
    return load(RUNS)


if __name__ == "__main__":
    main()
