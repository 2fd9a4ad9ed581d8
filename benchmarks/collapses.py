r"""Forks of many trained agents, one change each: how far each falls, and whether it comes back.

    python -m benchmarks.collapses --agents=21,22,23 --logdir=runs/collapse --workers=2
    python -m benchmarks.collapses --agents=21,22,23 --logdir=runs/collapse --workers=2 \
        --plan=map --results=docs/collapse.jsonl --machine="two cores of an AMD EPYC"
    python -m benchmarks.collapses --trained=runs/breakout --logdir=runs/collapse --plan=changes
    python -m benchmarks.collapses --random-play=200

Without ``--plan`` it trains the agents, one for each seed, until their score is TRAINED. A plan
forks each agent, or each ``--trained`` run of any game, once for each of its changes. A fork has a
constant rate, no limit on the KL, and UPDATES updates. ``--results`` adds each finished fork to a
file, with what KEPT names. Called again, it resumes. docs/collapse.md explains the numbers.
"""

import argparse
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from benchmarks import games_store
from ppo import checkpoint, params, presets
from ppo.autopsy.changes import UNCHANGED
from ppo.autopsy.forks import QUIET
from ppo.envs import checks, registry
from ppo.envs.episode import Episode
from ppo.envs.registry import resolved
from ppo.envs.vector import EnvVector
from ppo.errors import ExitCode, PPOError, Stopped
from ppo.files.atomic import write_whole
from ppo.files.folder import RunFolder
from ppo.files.lock import exclusive
from ppo.settings import Params
from ppo.sweep.grid import Run, begun_faults, folder_name, logdir_faults, parse_seeds
from ppo.sweep.parallel import STOPPED, Call, begin_or_resume, finished, run_all
from ppo.system.arguments import argument_parser, expanded, positive
from ppo.system.children import Children
from ppo.system.command import run_command
from ppo.system.reading import repeated
from ppo.telemetry import progress
from ppo.telemetry.scalars import POINTS, SCORE

PONG, TRAINED, UPDATES, RATE = "PongNoFrameskip-v4", 17.0, 60, 4e-4
HEIGHT_OVER = 20  # updates of an agent before its forks
PLACEBO_SEED = 1000  # above the agent's seed, which its other forks have
# What is kept of a fork's log, and under which name.
KEPT = {
    "points": POINTS,
    "kl": "train/update_kl",
    "gain": "train/surrogate_gain_last",
    "entropy": "train/pseudo_entropy",
    "clipped": "train/clip_fraction",
    "value_share": "trunk/value_share",
}

PLACEBO = "placebo"  # the unchanged settings with another seed
# Other sizes of the step and nothing else: what multiplies the rate.
CONTROLS = {
    "rate x 2": 2,
    "rate / 2": 1 / 2,
    "rate / 4": 1 / 4,
    "rate / 8": 1 / 8,
    "rate / 16": 1 / 16,
}
# The changes of the source, the value's part and the noise, other remedies: p is corrected within
# each.
FAMILIES: dict[str, dict[str, dict[str, Any]]] = {
    "A": {
        "logit target": {"delta_target_policy": "logit"},
        "peaked loss": {"peaked_policy_loss": True},
        "rescaling per state": {"value_rescaling": "per_state"},
        "rescaling per batch": {"value_rescaling": "per_batch"},
        "rescaling smoothed": {"value_rescaling": "smoothed"},
    },
    "B": {
        "value detached": {"value_gradient": "detached"},
        "value coefficient 0.1": {"value_coef": 0.1},
        "not normalised": {"normalize_advantages": False},
        "not normalised, detached": {"normalize_advantages": False, "value_gradient": "detached"},
        "one minibatch": {"num_minibatches": 1},
    },
    "C": {
        "8 steps": {"num_epochs": 1},
        "quadratic loss": {"quadratic_policy_loss": True},
        "KL limit": {"minibatch_kl_limit": 0.05},
        "KL limit, step undone": {"minibatch_kl_limit": 0.05, "undo_beyond_kl_limit": True},
        "betas 0.9": {"adam_beta_1": 0.9, "adam_beta_2": 0.9},
        "moments reset": {"adam_reset": True},
    },
}


def rate(times: float) -> dict[str, Any]:
    """The trained rate, times a number."""
    return {"learning_rate": RATE * times}


def changes(plan: str, dose: float) -> dict[str, dict[str, Any]]:
    """The changes of a plan by name; ``dose`` multiplies the rate of all but the map."""
    if plan == "map":
        return {
            f"rate x {times}, epochs {epochs}": rate(times) | {"num_epochs": epochs}
            for epochs, times in itertools.product((6, 1, 12), (1, 2, 4, 8, 16, 32))
        }
    controls = {name: rate(dose * times) for name, times in CONTROLS.items()}
    families = itertools.chain.from_iterable(family.items() for family in FAMILIES.values())
    others = {name: rate(dose) | settings for name, settings in families}
    return {UNCHANGED: rate(dose), PLACEBO: rate(dose), **controls, **others}


@dataclass(frozen=True)
class Fork:
    """A fork that ended: its agent's seed, its change, and what each update logged. The height is
    its agent's points a step before. A fork that diverged has fewer updates than UPDATES.
    """

    plan: str
    change: str
    settings: dict[str, Any]
    agent: int
    height: float
    logged: dict[str, list[float | None]]  # by the names of KEPT; None where an update lacks it
    machine: str = ""


@dataclass(frozen=True, eq=False)  # settings have no hash
class OneRun(Run):
    """An agent, or a fork of one: where it begins, and its settings."""

    begins: str
    params: Params
    plan: str = ""  # label_of its plan
    height: float = math.nan  # of the agent, in points a step
    change: Mapping[str, Any] = field(default_factory=dict)
    source: tuple[Path, int] | None = None  # the run and the step of which it is a fork


def agents(seeds: Sequence[int], logdir: Path) -> list[OneRun]:
    """The runs of the agents."""
    source, runs = presets.find("pong"), []
    for seed in seeds:
        own = ("evaluation_interval=0", "video_interval=0", "keep_checkpoints_from=0")
        overrides = (*own, f"stop_at_score={TRAINED}", f"seed={seed}", "threads=1")
        settings = params.load(source, overrides, [checks.check])
        folder = logdir / "agents" / f"seed-{seed}"
        runs.append(OneRun("agent", seed, overrides, folder, f"--pfile={source}", settings))
    return runs


def trained(folder: Path) -> OneRun:
    """A run that exists, as an agent. Raises PPOError."""
    settings = resolved(params.load_run(RunFolder(folder).params, (), [checks.check]))
    return OneRun("agent", settings.seed, (), folder, "", settings)


def forks(agent: OneRun, plan: str, dose: float, logdir: Path) -> list[OneRun]:
    """The forks of an agent. Raises PPOError if it has not come to its score."""
    step, rows = checkpoint.newest(RunFolder(agent.folder)).step, progress.numbers(agent.folder)
    wanted = agent.params.stop_at_score
    if not rows or (wanted is not None and rows[-1].get(SCORE, -math.inf) < wanted):
        score = "" if wanted is None else f" of {wanted:g}"
        raise PPOError(f"{agent.folder} has no score{score}; name another seed instead")
    height = fmean(map(progress.points, rows[-HEIGHT_OVER:]))
    whole, runs = step + UPDATES * agent.params.batch_size, []
    for name, change in changes(plan, dose).items():
        seed = agent.seed + PLACEBO_SEED * (name == PLACEBO)
        own = {"total_steps": whole, "stop_at_score": None, "collapse_guard": "off", "seed": seed}
        own |= {"diagnostics_interval": 1, "checkpoint_interval": whole}  # the KL of each update
        overrides = tuple(params.texts(QUIET | own | {"keep_checkpoints_from": None} | change))
        merged = params.load_run(RunFolder(agent.folder).params, overrides, [checks.check])
        label = label_of(plan, dose, merged.env_id)
        folder = logdir / label / folder_name(name) / f"seed-{agent.seed}"
        of_agent = f"--fork={agent.folder}", merged, label, height, change, (agent.folder, step)
        runs.append(OneRun(name, agent.seed, overrides, folder, *of_agent))
    return runs


def label_of(plan: str, dose: float, env_id: str) -> str:
    """What a plan's forks are called in the results and in folders."""
    size = "" if plan == "map" else f"-x{dose:g}"
    game = "" if env_id == PONG else f"-{folder_name(env_id)}"
    return f"{plan}{size}{game}"


def ended(run: OneRun) -> bool:
    """Whether a run came to its end, or diverged."""
    return finished(run, run.params) or any(run.folder.glob("diverged-*.npz"))


def outcome(run: OneRun, machine: str) -> Fork:
    """What the log of a fork that ended says. Raises PPOError if an update has no points or KL."""
    rows = progress.numbers(run.folder)[:UPDATES]
    needed = KEPT["points"], KEPT["kl"]
    if lacking := [tag for row in rows for tag in needed if tag not in row]:
        raise PPOError(f"{run.name} has an update without {lacking[0]}")
    logged = {name: [short(row.get(tag)) for row in rows] for name, tag in KEPT.items()}
    return Fork(run.plan, run.variant, dict(run.change), run.seed, run.height, logged, machine)


def short(value: float | None) -> float | None:
    """A number as the files keep it, with five digits; None stays."""
    return None if value is None else float(f"{value:.5g}")


def random_play(games: int) -> float:
    """Points a step of uniformly random actions in so many games, with the agents' rules."""
    settings = resolved(params.load(presets.find("pong"), ["seed=0"]))
    rules, rng = registry.rules_of(settings), np.random.default_rng(0)
    envs = EnvVector(rules, settings.num_envs, 1)
    episodes: list[Episode] = []
    envs.begin()
    while len(episodes) < games:
        envs.send(rng.integers(envs.num_actions, size=len(envs)))
        episodes += envs.receive().finished
    return sum(one.score for one in episodes) / sum(len(one.actions) for one in episodes)


def load(path: Path) -> list[Fork]:
    """The forks in a file. Raises Unreadable."""
    return games_store.load(path, Fork)


def add(path: Path, made: Sequence[Fork]) -> None:
    """Add forks to a file; one that is there already stays."""
    with exclusive(path):
        known = {(fork.plan, fork.change, fork.agent): fork for fork in [*made, *load(path)]}
        lines = [TypeAdapter(Fork).dump_json(known[key]).decode() for key in sorted(known)]
        write_whole(path, "".join(f"{line}\n" for line in lines).encode())


def planned(options: argparse.Namespace) -> list[OneRun]:
    """The runs to make. Raises PPOError if one cannot begin, before anything is created."""
    faults = logdir_faults(options.logdir)
    runs = [*map(trained, options.trained)]
    if options.agents:
        runs += agents(parse_seeds(options.agents, faults), options.logdir)
    if options.results:
        faults += games_store.faults(options.results, Fork)
    if options.plan:
        names = changes(options.plan, options.dose)
        faults += [f"--only={name!r}: no such change" for name in options.only if name not in names]
        forked = (forks(agent, options.plan, options.dose, options.logdir) for agent in runs)
        runs = [run for of_change in zip(*forked, strict=True) for run in of_change]
        runs = [run for run in runs if not options.only or run.variant in options.only]
    faults += [f"{run}: two agents have this folder" for run in repeated(r.folder for r in runs)]
    faults += itertools.chain(*(begun_faults(run, run.params, run.source) for run in runs))
    if faults:
        raise params.ParamsError(faults)
    return runs


def make(options: argparse.Namespace) -> None:
    """Make the agents, or the forks of a plan. Raises PPOError unless all came to their end."""
    if options.random_play:
        print(f"{random_play(options.random_play):.5f} points a step")
        return
    runs, children = planned(options), Children()

    def go(run: OneRun, call: Call) -> int:
        code = begin_or_resume(run, run.begins, run.params, call)
        return ExitCode.DONE if code == ExitCode.DIVERGED and options.plan else code

    failed = run_all(runs, options.workers, children, ended, go)
    if options.results and options.plan:
        add(options.results, [outcome(run, options.machine) for run in runs if ended(run)])
    if children.stopped:
        raise Stopped(STOPPED)
    if failed:
        raise PPOError("\n".join(failed))


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argument_parser("benchmarks.collapses", __doc__)
    parser.add_argument("--agents", metavar="1,2,3", help="seeds of the agents")
    parser.add_argument("--trained", action="append", type=expanded, default=[], metavar="RUN")
    parser.add_argument("--logdir", type=expanded)
    parser.add_argument("--plan", choices=["map", "changes"])
    parser.add_argument("--dose", type=float, default=8.0, help="times the rate, in changes")
    parser.add_argument("--only", action="append", default=[], metavar="CHANGE", help="of the plan")
    parser.add_argument("--results", type=expanded, metavar="FILE")
    parser.add_argument("--machine", default="")
    parser.add_argument("--workers", type=positive, default=1, help="runs at a time")
    parser.add_argument("--random-play", type=positive, metavar="GAMES", help="measure random play")
    options = parser.parse_args()
    if not (options.random_play or (options.logdir and (options.agents or options.trained))):
        parser.error("--logdir and --agents or --trained are needed")
    if not options.plan and (options.trained or options.only):
        parser.error("--trained and --only go with --plan")
    return run_command(lambda: make(options), stopped=STOPPED)


if __name__ == "__main__":
    raise SystemExit(main())
