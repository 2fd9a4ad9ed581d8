r"""How long until a perfect game, and until an evaluation of a score?

    python -m benchmarks.time_to_score --pfile=example-pong-params.json --seeds=1,2,3 \
        --score=20 --logdir=runs/time-to-score --workers=1

Trains once for each seed. Then prints a JSON line for each run, with the steps and seconds of two
log entries, counted from the command on. One is the first entry after a game of the score
``--perfect``. The other is the first evaluation whose mean is ``--score`` or more. Called again,
it resumes runs that were stopped; time counts while a run runs. It reads progress.csv, so runs
that are already there are reported at once.
"""

import json
import sys
from pathlib import Path
from typing import Any

from ppo import presets
from ppo.errors import PPOError, Stopped
from ppo.files.folder import RunFolder
from ppo.params import load
from ppo.sweep.grid import begun_faults, logdir_faults, parse, parse_seeds, setting_faults
from ppo.sweep.parallel import STOPPED, train_all
from ppo.system.arguments import argument_parser, expanded, positive
from ppo.system.children import Children
from ppo.system.command import run_command
from ppo.system.device import default_threads
from ppo.telemetry import progress
from ppo.telemetry.scalars import SCORE, TIME


def first_at(rows: list[dict[str, float]], tag: str, score: float) -> dict[str, float] | None:
    """Steps and seconds of the first point whose ``tag`` is at least the score."""
    for row in rows:
        if tag in row and row[tag] >= score:
            return {"steps": int(row["step"]), "seconds": row[TIME]}
    return None


def scores_of(folder: Path, perfect: float, score: float) -> dict[str, Any]:
    """What a run's progress.csv says of it."""
    rows = progress.numbers(folder)
    if not rows:
        return {}
    evaluated = [row for row in rows if "eval/mean_reward" in row]
    return {
        "perfect_game": first_at(rows, "rollout/ep_rew_best", perfect),
        "evaluation": first_at(evaluated, "eval/mean_reward", score),
        "last_evaluation": evaluated[-1]["eval/mean_reward"] if evaluated else None,
        "mean_of_last_games": rows[-1].get(SCORE),
        "steps": int(rows[-1]["step"]),
        "seconds": rows[-1][TIME],
    }


def train_and_report() -> None:
    """Train all runs and print their times. Raises PPOError unless every run came to its end."""
    parser = argument_parser("benchmarks.time_to_score", __doc__)
    parser.add_argument("--pfile", type=presets.find, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--logdir", type=expanded, required=True)
    parser.add_argument("--seeds", required=True, metavar="1,2,3")
    parser.add_argument("--score", type=float, required=True, help="of an evaluation")
    parser.add_argument("--perfect", type=float, default=21.0, help="of a game")
    parser.add_argument("--workers", type=positive, default=1, help="runs at a time")
    options = parser.parse_args()
    faults = logdir_faults(options.logdir)
    seeds = parse_seeds(options.seeds, faults)
    threads = max(1, default_threads() // options.workers)
    grid = parse([], shared=options.set)
    runs = grid.runs(options.logdir, seeds, threads)
    faults += grid.faults + setting_faults(options.pfile, runs)
    for run in runs if not faults else []:
        settings = load(options.pfile, run.overrides)
        faults += begun_faults(run, settings)
        if not settings.evaluation_interval:
            faults.append("evaluation_interval = 0: --score needs evaluations; set an interval")
    if faults:
        parser.error("\n".join(faults))
    pfile, children = options.pfile, Children()
    failed = train_all(
        runs, options.workers, children, f"--pfile={pfile}", lambda run: load(pfile, run.overrides)
    )
    if children.stopped:
        raise Stopped(STOPPED)
    for run in runs:
        if RunFolder(run.folder).progress.exists():
            line = {"seed": run.seed} | scores_of(run.folder, options.perfect, options.score)
            print(json.dumps(line), flush=True)
    if failed:
        raise PPOError("\n".join(failed))


if __name__ == "__main__":
    sys.exit(run_command(train_and_report, stopped=STOPPED))
