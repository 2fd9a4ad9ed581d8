r"""Writes down what a preset reaches: its line in ``run_atari.py --describe-presets``.

    python -m benchmarks.games --games=Pong --pfile=pong --steps=2000000 --seeds=1,2,3 \
        --logdir=runs/pong
    python -m benchmarks.measured pong --machine="two cores of an AMD EPYC" \
        --runs=runs/pong/2000000-steps_pong/Pong-1,runs/pong/2000000-steps_pong/Pong-2
    python -m benchmarks.measured qbert --results=docs/games.jsonl

Score, interval, minutes, seeds, threads and precision are read from the runs. The runs must learn
with the preset's settings and steps, and have 30 games of the policy after their last step.
``--results`` takes every run that learns as the preset does from a file of ``benchmarks.games``.
"""

import argparse
import datetime
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from benchmarks import games_store
from benchmarks.games_results import DEFAULTS, GAMES, Result, interval_of, seconds_of
from ppo import presets
from ppo.envs import registry
from ppo.envs.registry import resolved
from ppo.files import evaluations
from ppo.files.atomic import write_whole
from ppo.files.folder import RunFolder
from ppo.params import ParamsError, load, load_run
from ppo.settings import INCIDENTAL, Params
from ppo.settings.fields import CHOICES
from ppo.system.arguments import argument_parser, expanded
from ppo.system.command import run_command


class Run(NamedTuple):
    """A finished run of a preset, and the scores of its last evaluation."""

    seed: int
    minutes: float
    threads: int
    precision: str
    machine: str
    date: str
    scores: Sequence[float]


def runs_in(
    preset: str, folders: Sequence[Path], policy: str, machine: str, date: str
) -> list[Run]:
    """The runs in these folders. Raises ParamsError if one has other settings, or no evaluation."""
    wanted, runs, faults = load(presets.find(preset)), [], []
    for folder in folders:
        end = range(wanted.whole_steps, wanted.whole_steps + 1)
        line = evaluations.last(RunFolder(folder), policy, GAMES, end)
        seconds = seconds_of(folder, end)
        params = load_run(RunFolder(folder).params)
        faults += [f"{folder}: {fault}" for fault in _differences(wanted, params)]
        if line is None or seconds is None:
            faults.append(f"{folder}: it has no {GAMES} games, {policy}, after its last step")
            continue
        place = params.threads or 0, params.precision, machine, date
        runs.append(Run(params.seed or 0, seconds / 60, *place, line["scores"]))
    if faults:
        raise ParamsError(faults)
    return runs


def runs_among(
    preset: str, results: Iterable[Result], policy: str, precision: str | None = None
) -> list[Run]:
    """Return the results with the preset's settings. All had one thread. ``precision`` selects
    among them. Raises ParamsError if there is none.
    """
    wanted = load(presets.find(preset))
    labels = _labels(wanted)
    runs = [
        Run(one.seed, one.minutes, 1, one.precision, one.machine, one.date, one.scores[policy])
        for one in results
        if one.settings in labels
        and one.env_id == wanted.env_id
        and one.total_steps == wanted.total_steps
        and wanted.precision in ("auto", one.precision)
        and precision in (None, one.precision)
    ]
    if not runs:
        game = f"{wanted.env_id}, {wanted.total_steps:,} steps"
        raise ParamsError([f"no run there is of {' or '.join(sorted(labels))} with {game}"])
    return runs


def _labels(wanted: Params) -> set[str]:
    """What results call runs with these settings: the defaults, or a preset, with any game."""
    game = {"env_id": wanted.env_id, "total_steps": wanted.total_steps}
    sources = {DEFAULTS: registry.settings_for(wanted.env_id)} | {
        name: presets.find(name) for name in presets.names()
    }
    return {
        name for name, source in sources.items() if not _differences(wanted, load(source, game))
    }


def measured(preset: str, runs: Sequence[Run], policy: str) -> presets.Measured:
    """What the runs of a preset reached. Raises ParamsError for runs that are not alike."""
    for key in ("threads", "precision"):
        if len({getattr(run, key) for run in runs}) > 1:
            raise ParamsError([f"the runs differ in {key}; give runs that are alike"])
    seeds = [run.seed for run in runs]
    if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        raise ParamsError([f"there are two runs of seed {seed}; give one" for seed in twice])
    scores = [run.scores for run in runs]
    low, high = interval_of(scores)
    return presets.Measured(
        preset=preset,
        seeds=seeds,
        steps=load(presets.find(preset)).whole_steps,
        games=GAMES,
        policy=policy,
        score=fmean(map(fmean, scores)),
        low=low,
        high=high,
        minutes=fmean(run.minutes for run in runs),
        threads=runs[0].threads,
        precision=runs[0].precision,
        machine=" and ".join(sorted({run.machine for run in runs})),
        date=" and ".join(sorted({run.date for run in runs})),
    )


def store(line: presets.Measured) -> None:
    """Write the line in place of the preset's former one."""
    others = [old for old in presets.measured() if old.preset != line.preset]
    lines = sorted([*others, line], key=lambda one: one.preset)
    text = "".join(f"{json.dumps(one._asdict())}\n" for one in lines)
    write_whole(presets.MEASURED, text.encode())


def _differences(preset: Params, params: Params) -> list[str]:
    free = INCIDENTAL | ({"precision"} if preset.precision == "auto" else set())
    begun: dict[str, Any] = dict(resolved(params))
    return [
        f"{key} is {begun[key]!r}, in the preset {value!r}"
        for key, value in resolved(preset)
        if key not in free and begun[key] != value
    ]


def main() -> None:
    """Read the runs, write the line. Raises PPOError."""
    parser = argument_parser("benchmarks.measured", __doc__)
    parser.add_argument("preset", choices=presets.names())
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--runs", metavar="RUN,RUN")
    source.add_argument("--results", type=expanded, metavar="FILE", help="of benchmarks.games")
    parser.add_argument("--precision", help="of --results, if their runs have several")
    parser.add_argument("--machine", help="of --runs, as the list calls it")
    parser.add_argument("--policy", default="sampled", choices=CHOICES)
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of --runs")
    options = parser.parse_args()
    if options.runs and not options.machine:
        parser.error("--runs: say with --machine what they were made on")
    line = measured(options.preset, runs_of(options), options.policy)
    store(line)
    print(f"{line.preset}: {line.result}; {line.circumstances}")


def runs_of(options: argparse.Namespace) -> list[Run]:
    """The runs that the arguments name. Raises ParamsError."""
    preset, policy = options.preset, options.policy
    if options.results:
        if faults := games_store.faults(options.results):
            raise ParamsError(faults)
        return runs_among(preset, games_store.load(options.results), policy, options.precision)
    folders = [expanded(run) for run in options.runs.split(",")]
    return runs_in(preset, folders, policy, options.machine, options.date)


if __name__ == "__main__":
    sys.exit(run_command(main))
