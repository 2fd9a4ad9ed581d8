r"""Writes down what a preset reaches: its line in ``run_atari.py --describe-presets``.

    python -m benchmarks.games --games=Pong --pfile=pong --steps=2000000 --seeds=1,2,3 \
        --logdir=runs/pong
    python -m benchmarks.measured pong --machine="two cores of an AMD EPYC" \
        --runs=runs/pong/2000000-steps_pong/Pong-1,runs/pong/2000000-steps_pong/Pong-2

Score, interval, steps, minutes, seeds, threads and precision are read from the runs, which must
learn with the preset's settings, and have 30 games of the policy after their last step. Seed,
threads, evaluations and videos are free.
"""

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.games_results import GAMES, interval_of, seconds_of
from ppo import presets
from ppo.files import evaluations
from ppo.files.folder import RunFolder, write_whole
from ppo.params import ParamsError, load, of_run
from ppo.resolve import resolved
from ppo.settings import Params, RunSettings

# Seed, threads, and what a run shows and keeps of itself: not how it learns.
FREE = {*RunSettings.model_fields} - {"collapse_guard"}


def measured(
    preset: str, runs: Sequence[Path], policy: str, machine: str, date: str
) -> presets.Measured:
    """What the runs of a preset reached. Raises ParamsError with all faults."""
    wanted = load(presets.find(preset))
    free = FREE | ({"precision"} if wanted.precision == "auto" else set())
    lines, minutes, settings, faults = [], [], [], []
    for run in runs:
        line, seconds = evaluations.last(RunFolder(run), policy, GAMES), seconds_of(run)
        params = of_run(RunFolder(run).params)
        settings.append(params)
        faults += [f"{run}: {fault}" for fault in _differences(resolved(wanted), params, free)]
        if line is None or seconds is None or line["step"] < wanted.whole_steps:
            faults.append(f"{run}: it has no {GAMES} games, {policy}, after its last step")
        else:
            lines.append(line)
            minutes.append(seconds / 60)
    for key in ("threads", "precision"):
        if len({getattr(params, key) for params in settings}) > 1:
            faults.append(f"the runs differ in {key}; give runs that are alike")
    if faults:
        raise ParamsError(faults)
    scores = [line["scores"] for line in lines]
    low, high = interval_of(scores)
    return presets.Measured(
        preset=preset,
        seeds=[params.seed or 0 for params in settings],
        steps=wanted.whole_steps,
        games=GAMES,
        policy=policy,
        score=fmean(map(fmean, scores)),
        low=low,
        high=high,
        minutes=fmean(minutes),
        threads=settings[0].threads or 0,
        precision=settings[0].precision,
        machine=machine,
        date=date,
    )


def store(line: presets.Measured) -> None:
    """Write the line in place of the preset's former one."""
    others = [old for old in presets.measured() if old.preset != line.preset]
    lines = sorted([*others, line], key=lambda one: one.preset)
    write_whole(presets.MEASURED, "".join(map(_as_json, lines)).encode())


def _as_json(line: presets.Measured) -> str:
    return json.dumps(line._asdict()) + "\n"


def _differences(wanted: Params, params: Params, free: set[str]) -> list[str]:
    begun: dict[str, Any] = dict(params)
    return [
        f"{key} is {begun[key]!r}, in the preset {value!r}"
        for key, value in wanted
        if key not in free and begun[key] != value
    ]


def main() -> int:
    """Read the runs, write the line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset", choices=presets.names())
    parser.add_argument("--runs", required=True, metavar="RUN,RUN")
    parser.add_argument("--machine", required=True, help="as the list calls it")
    parser.add_argument("--policy", default="sampled", choices=["sampled", "greedy"])
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the runs")
    options = parser.parse_args()
    runs = [Path(run) for run in options.runs.split(",")]
    try:
        line = measured(options.preset, runs, options.policy, options.machine, options.date)
    except ParamsError as error:
        print(error, file=sys.stderr)
        return 2
    store(line)
    print(f"{line.preset}: {line.result}; {line.circumstances}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
