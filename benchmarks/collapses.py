r"""Forks of many perfect agents, one change each: how far each falls, and whether it comes back.

    python -m benchmarks.collapses --agents=21,22,23 --logdir=runs/collapse --workers=2
    python -m benchmarks.collapses --agents=21,22,23 --logdir=runs/collapse --workers=2 \
        --plan=map --results=docs/collapse.jsonl --machine="two cores of an AMD EPYC"

Without ``--plan`` it trains the agents, one for each seed, until their score is SCORE. A plan forks
each agent with each of its changes, with a constant rate and no limit on the KL, for UPDATES
updates. Called again, it resumes. ``--results`` adds each finished fork to a file: its points,
its KL and its surrogate's gain in each update. docs/collapse.md says what the numbers mean.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ppo import checkpoint, params, presets
from ppo.autopsy.changes import UNCHANGED, smaller_rates
from ppo.autopsy.forks import QUIET
from ppo.envs import registry
from ppo.errors import PPOError, Stopped
from ppo.files.folder import RunFolder, exclusive, write_whole
from ppo.settings import Params
from ppo.sweep.grid import Run, folder_name, parse_seeds
from ppo.sweep.parallel import STOPPED, Call, begin_or_resume, finished, run_all
from ppo.system import reading
from ppo.system.arguments import argument_parser, expanded
from ppo.system.children import Children
from ppo.system.command import run_command
from ppo.telemetry import progress
from ppo.telemetry.scalars import POINTS

SCORE, UPDATES, RATE = 20.0, 60, 4e-4
# What is kept of a fork's log, and under which name.
KEPT = {"points": POINTS, "kl": "train/update_kl", "gain": "train/surrogate_gain_last"}


def rate(times: float) -> dict[str, Any]:
    """The trained rate, times a number."""
    return {"learning_rate": RATE * times}


def changes(plan: str, dose: float) -> dict[str, dict[str, Any]]:
    """The changes of a plan by name; ``dose`` multiplies the rate of the interventions."""
    if plan == "map":
        return {
            f"rate x {times}, epochs {epochs}": rate(times) | {"num_epochs": epochs}
            for times, epochs in itertools.product((1, 2, 4, 8, 16, 32), (1, 3, 6, 12))
        }
    controls = {one.name: dict(one.settings) for one in smaller_rates(RATE * dose)}
    every = {UNCHANGED: {}, **controls, **INTERVENTIONS}
    return {name: rate(dose) | settings for name, settings in every.items()}


INTERVENTIONS: dict[str, dict[str, Any]] = {
    "logit target": {"delta_target_policy": "logit"},
    "peaked loss": {"peaked_policy_loss": True},
    "quadratic loss": {"quadratic_policy_loss": True},
    "rescaling per state": {"value_rescaling": "per_state"},
    "rescaling per batch": {"value_rescaling": "per_batch"},
    "rescaling smoothed": {"value_rescaling": "smoothed"},
    "value detached": {"value_gradient": "detached"},
    "advantages floored": {"advantage_std_floor": 0.3},
    "advantages not normalised": {"normalize_advantages": False},
    "betas 0.9": {"adam_beta_1": 0.9, "adam_beta_2": 0.9},
    "moments reset": {"adam_reset": True},
    "clip range 0.1": {"clip_range": 0.1},
    "one minibatch": {"num_minibatches": 1},
    "target KL": {"target_kl": 0.05},
    "KL limit": {"minibatch_kl_limit": 0.05},
    "KL limit, step undone": {"minibatch_kl_limit": 0.05, "undo_beyond_kl_limit": True},
    "1 step": {"num_epochs": 1, "num_minibatches": 1},
    "2 steps": {"num_epochs": 1, "num_minibatches": 2},
    "4 steps": {"num_epochs": 1, "num_minibatches": 4},
    "16 steps": {"num_epochs": 2, "num_minibatches": 8},
}


@dataclass(frozen=True)
class Fork:
    """A finished fork: its agent's seed, its change, and a value of each kind for each update."""

    plan: str
    change: str
    settings: dict[str, Any]
    agent: int
    points: list[float]
    kl: list[float]
    gain: list[float]
    machine: str = ""


@dataclass(frozen=True)
class OneRun(Run):
    """An agent, or a fork of one: where it begins, and its settings."""

    begins: str
    params: Params


def agents(seeds: Sequence[int], logdir: Path) -> list[OneRun]:
    """The runs of the agents."""
    source, runs = presets.find("pong"), []
    for seed in seeds:
        own = ("evaluation_interval=0", "video_interval=0", f"stop_at_score={SCORE}")
        overrides = (*own, f"seed={seed}", "threads=1")
        settings = params.load(source, overrides, [registry.check])
        folder = logdir / "agents" / f"seed-{seed}"
        runs.append(OneRun("agent", seed, overrides, folder, f"--pfile={source}", settings))
    return runs


def forks(agent: OneRun, plan: str, dose: float, logdir: Path) -> list[OneRun]:
    """The forks of an agent. Raises CheckpointError."""
    step, runs = checkpoint.newest(RunFolder(agent.folder)).step, []
    for name, settings in changes(plan, dose).items():
        whole = step + UPDATES * agent.params.batch_size
        own = {"total_steps": whole, "stop_at_score": None, "collapse_guard": "off"}
        own |= {"diagnostics_interval": 1, "checkpoint_interval": whole, "seed": agent.seed}
        overrides = tuple(params.texts(QUIET | own | settings))
        merged = params.load_run(RunFolder(agent.folder).params, overrides, [registry.check])
        folder = logdir / plan / folder_name(name) / f"seed-{agent.seed}"
        runs.append(OneRun(name, agent.seed, overrides, folder, f"--fork={agent.folder}", merged))
    return runs


def outcome(run: OneRun, plan: str, machine: str) -> Fork:
    """What a finished fork's log says. Raises PPOError if an update lacks a value."""
    rows = progress.numbers(run.folder)[:UPDATES]
    if lacking := [tag for row in rows for tag in KEPT.values() if tag not in row]:
        raise PPOError(f"{run.name} has an update without {lacking[0]}")
    values = {name: [row[tag] for row in rows] for name, tag in KEPT.items()}
    own = {key: getattr(run.params, key) for key in changes(plan, 1.0)[run.variant]}
    return Fork(plan, run.variant, own, run.seed, **values, machine=machine)


def load(path: Path) -> list[Fork]:
    """The forks in a file. Raises Unreadable."""
    return reading.all_lines(path, TypeAdapter(Fork)) if path.exists() else []


def add(path: Path, made: Sequence[Fork]) -> None:
    """Add forks to a file; one that is there already stays."""
    with exclusive(path):
        known = {(fork.plan, fork.change, fork.agent): fork for fork in [*made, *load(path)]}
        lines = [TypeAdapter(Fork).dump_json(known[key]).decode() for key in sorted(known)]
        write_whole(path, "".join(f"{line}\n" for line in lines).encode())


def make(options: argparse.Namespace) -> None:
    """Make the agents, or the forks of a plan. Raises PPOError unless all came to their end."""
    faults: list[str] = []
    made = agents(parse_seeds(options.agents, faults), options.logdir)
    if faults:
        raise params.ParamsError(faults)
    runs = made
    if options.plan:
        forked = (forks(agent, options.plan, options.dose, options.logdir) for agent in made)
        runs = [run for of_change in zip(*forked, strict=True) for run in of_change]
        runs = [run for run in runs if not options.only or run.variant in options.only]
    children = Children()

    def go(run: OneRun, call: Call) -> int:
        return begin_or_resume(run, run.begins, run.params, call)

    def done(run: OneRun) -> bool:
        return finished(run, run.params)

    failed = run_all(runs, options.workers, children, done, go)
    if options.results and options.plan:
        over = [outcome(run, options.plan, options.machine) for run in runs if done(run)]
        add(options.results, over)
    if children.stopped:
        raise Stopped(STOPPED)
    if failed:
        raise PPOError("\n".join(failed))


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argument_parser("benchmarks.collapses", __doc__)
    parser.add_argument("--agents", required=True, metavar="1,2,3", help="seeds of the agents")
    parser.add_argument("--logdir", type=expanded, required=True)
    parser.add_argument("--plan", choices=["map", "interventions"])
    parser.add_argument("--dose", type=float, default=8.0, help="times the rate, in interventions")
    parser.add_argument("--only", action="append", metavar="NAME", help="one of the plan's changes")
    parser.add_argument("--results", type=expanded, metavar="FILE")
    parser.add_argument("--machine", default="")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    options = parser.parse_args()
    return run_command(lambda: make(options), stopped=STOPPED)


if __name__ == "__main__":
    raise SystemExit(main())
