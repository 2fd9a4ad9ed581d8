r"""Scores in many games: trains, evaluates, and writes one table.

    python -m benchmarks.games --games=Pong,Qbert --steps=2500000 --seeds=1,2 --logdir=runs/games \
        --workers=2
    python -m benchmarks.games --games=Pong,Qbert --steps=2500000 --seeds=1 --logdir=runs/games \
        --sb3=.venv-sb3/bin/python
    python -m benchmarks.games --only-table --logdir=runs/games --page=docs/games-log.md \
        --results=docs/games.jsonl --machine="two cores of an AMD EPYC" \
        --figure=docs/figures/games.png

Each game and seed is a run of run_atari.py with one thread, in LOGDIR/STEPS-steps_SETTINGS/
GAME-SEED, followed by 30 games of its sampled and 30 of its greedy policy. Called again, it resumes
where it was interrupted; SIGINT and SIGTERM save every run first. ``--sb3`` trains
Stable-Baselines3 in its place, with rl-zoo3's settings and the same steps, seeds and evaluation
(see sb3_curve.py). LOGDIR/games.md and games.json have all that has finished in LOGDIR;
``--results`` adds it to a file with the runs of other folders and machines, and the table is of all
of them; ``--page`` also puts the table into a page, between two comments; ``--figure`` draws the
learning curves. docs/games-log.md says what the numbers mean.
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from benchmarks import games_figure, games_markdown, games_page, games_store, games_table
from benchmarks.games_results import DEFAULTS, GAMES, env_of, read, read_run, run_folder
from ppo import presets
from ppo.envs import registry
from ppo.errors import ExitCode, Stopped
from ppo.files.atomic import write_whole
from ppo.files.lock import owned
from ppo.params import ParamsError, load
from ppo.settings import Params
from ppo.sweep.grid import (
    SET_ELSEWHERE,
    Run,
    begun_faults,
    changes,
    check_of,
    folder_name,
    logdir_faults,
    parse_seeds,
    settings_in,
)
from ppo.sweep.one_precision import unify_precision
from ppo.sweep.parallel import STOPPED, Call, begin_or_resume, call_with_log, finished, run_all
from ppo.system.arguments import argument_parser, expanded, positive
from ppo.system.children import Children
from ppo.system.command import run_command
from ppo.system.reading import repeated

SB3 = "Stable-Baselines3"
SB3_SCRIPT = Path(__file__).resolve().with_name("sb3_curve.py")
# Each of these has an argument of its own, or is the same in all runs.
FIXED = {"env_id": "--games", "total_steps": "--steps"} | SET_ELSEWHERE
# The run is evaluated when it ends; other evaluations and videos would cost it time.
QUIET = ("evaluation_interval=0", "video_interval=0")


@dataclass(frozen=True)
class GameRun(Run):
    """A run of a game, and how it begins."""

    env_id: str
    pfile: Path | None

    @property
    def params(self) -> Params:
        """Its settings. Raises ParamsError."""
        source = self.pfile or registry.settings_for(self.env_id)
        return load(source, self.overrides, [check_of(self)])


SETTINGS = attrgetter("params")
# Settings in which runs of one table differ. Without a params file, the network differs too.
OF_A_GAME = ("env_id", "seed")


def plan(options: argparse.Namespace) -> list[GameRun]:
    """The runs, seed by seed, so that an interrupted call has all games of the first seeds."""
    seeds = parse_seeds(options.seeds, [])
    label = label_of(options)
    runs = []
    for seed, game in itertools.product(seeds, options.games.split(",")):
        own = [f"total_steps={options.steps}", f"seed={seed}"]
        if options.pfile:  # else --env names the game
            own.append(f"env_id={env_of(game)}")
        overrides = (*QUIET, *options.set, *own, "threads=1")
        name = f"{label}, {game}"
        place = options.logdir / run_folder(folder_name(label), options.steps, game, seed)
        runs.append(GameRun(name, seed, overrides, place, env_of(game), options.pfile))
    return runs


def label_of(options: argparse.Namespace) -> str:
    """What the table calls the settings."""
    if options.sb3:
        return SB3
    parts = [*([options.pfile.stem] if options.pfile else []), *options.set]
    return ", ".join(parts) or DEFAULTS


def done(run: GameRun) -> bool:
    """Whether a run of this package is finished and evaluated."""
    return finished(run, run.params) and read_run(run.folder) is not None


def go(run: GameRun, call: Call) -> int:
    """Start or resume a run, if it is not finished, then evaluate it; returns the exit code."""
    if not finished(run, run.params):
        source = f"--pfile={run.pfile}" if run.pfile else f"--env={run.env_id}"
        if code := begin_or_resume(run, source, run.params, call):
            return code
    return call_with_log(run, ["--evaluate", str(GAMES), f"--seed={run.seed}"], call)


def go_sb3(run: GameRun, steps: int, python: Path, call: Call) -> int:
    """The same with Stable-Baselines3, whose rates fall over the steps of the run as ours do."""
    command = [python, SB3_SCRIPT, f"--logdir={run.folder}", f"--env-id={run.env_id}"]
    command += [f"--steps={steps}", f"--schedule-steps={steps}", f"--seed={run.seed}"]
    command += ["--threads=1", f"--evaluation-games={GAMES}"]
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with open(run.log, "a") as log:
        return call([str(part) for part in command], stdout=log, stderr=log)


def with_copy(runs: Sequence[GameRun]) -> list[GameRun]:
    """The runs, with one copy of their params file if they have any."""
    if not (runs and (pfile := runs[0].pfile)):
        return list(runs)
    folder = runs[0].folder.parent
    folder.mkdir(exist_ok=True)
    copy = settings_in(folder, pfile)
    return [replace(run, pfile=copy) for run in runs]


def train(options: argparse.Namespace, runs: Sequence[GameRun], children: Children) -> list[str]:
    """Make all runs; returns a line for each that failed."""
    if options.sb3:
        return run_all(
            runs,
            options.workers,
            children,
            lambda run: read_run(run.folder) is not None,
            lambda run, call: go_sb3(run, options.steps, options.sb3, call),
        )
    return run_all(runs, options.workers, children, done, go)


def argument_faults(options: argparse.Namespace) -> list[str]:
    """What is wrong with the arguments, whatever the settings mean."""
    faults = logdir_faults(options.logdir)
    if options.page:
        faults += games_page.faults(options.page, place_of(options.logdir))
    if options.results:
        faults += games_store.faults(options.results)
        if not options.machine:
            faults.append("--results: say with --machine what the runs were made on")
    if (figure := options.figure) and (figure.suffix != ".png" or figure.is_dir()):
        faults.append(f"--figure={figure}: name a file that ends in .png")
    elif figure and not figure.parent.is_dir():
        faults.append(f"--figure={figure}: there is no folder {figure.parent}; make it first")
    if options.only_table:
        there = faults or options.logdir.is_dir()
        return faults if there else [f"{options.logdir} is not there; name the folder of the runs"]
    parse_seeds(options.seeds, faults)
    games = [env_of(game) for game in options.games.split(",")]
    for game in sorted(repeated(games)):
        faults.append(f"--games: {game} is given twice; a seed makes one run of it")
    for text in options.set:
        key = text.partition("=")[0]
        if key in FIXED:
            faults.append(f"--set {text}: use {FIXED[key]}")
    if options.sb3 and (options.set or options.pfile):
        faults.append("--sb3 has the settings of rl-zoo3; leave out --set and --pfile")
    if options.sb3 and not os.access(options.sb3, os.X_OK):
        faults.append(f"--sb3={options.sb3}: give a Python that has {SB3}; see docs/performance.md")
    return faults


def run_faults(run: GameRun) -> list[str]:
    """Why a run cannot begin, or go on in its folder."""
    try:
        params = run.params
    except ParamsError as error:
        return error.faults
    if params.stop_at_score is not None:
        return ["stop_at_score: the runs of a table have the same steps; set it to null"]
    return begun_faults(run, params)


def table_faults(run: GameRun) -> list[str]:
    """Return which runs in the folder of these settings began with other settings."""
    faults, params = [], run.params
    game = OF_A_GAME if run.pfile else (*OF_A_GAME, "network")
    for path in sorted(run.folder.parent.glob("*/params.json")):
        try:
            changed = changes(replace(run, folder=path.parent), params)
        except ParamsError as error:
            faults += [f"{path}: {fault}" for fault in error.faults]
            continue
        faults += [
            f"{path.parent}, which would be in the same table, has another {key} than "
            f"{json.dumps(value)}; remove it, use another --logdir, or rename the params file"
            for key, value in changed.items()
            if key not in game
        ]
    return faults


def write(options: argparse.Namespace) -> None:
    """Write and print the table of everything that has finished."""
    logdir, page = options.logdir, options.page
    results, missing = read(logdir)
    if options.results:
        for name in games_store.different(options.results, results):
            print(f"{options.results} has another run of {name}, which stays", file=sys.stderr)
        results = games_store.add(options.results, results, options.machine)
    tables = games_table.tables(results)
    text = games_markdown.markdown(tables, missing) or "There is no run yet."
    print(text, flush=True)
    write_whole(logdir / "games.md", f"{text}\n".encode())
    write_whole(logdir / "games.json", games_table.as_json(results, tables).encode())
    if page:
        games_page.insert(page, place_of(logdir), text)
    if options.figure and not games_figure.draw(results, options.figure):
        print("no run has a curve, so nothing is drawn", file=sys.stderr)


def place_of(logdir: Path) -> str:
    """What a page calls the place of the folder's table."""
    return logdir.resolve().name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(lambda: make(parse(arguments)), stopped=STOPPED)


def make(options: argparse.Namespace) -> ExitCode:
    """Make all runs and the table of what has finished."""
    children = Children()
    faults = argument_faults(options)
    runs = [] if faults or options.only_table else plan(options)
    faults += dict.fromkeys(itertools.chain(*map(run_faults, runs)))
    faults = faults or list(itertools.chain(*map(table_faults, runs[:1])))
    if not (faults or options.sb3):
        runs = unify_precision(runs, SETTINGS, faults)
    if faults:
        raise ParamsError(faults)
    options.logdir.mkdir(parents=True, exist_ok=True)
    # The table of what has finished may be written while the others train.
    with nullcontext() if options.only_table else owned(options.logdir):
        failed = train(options, with_copy(runs), children)
        if not children.stopped:
            write(options)
    for line in failed:
        print(line, file=sys.stderr)
    if children.stopped:
        raise Stopped(STOPPED)
    return ExitCode.FAILED if failed else ExitCode.DONE


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argument_parser("benchmarks.games", __doc__)
    add = parser.add_argument
    add("--logdir", type=expanded, required=True, help="folder of all runs")
    add("--games", metavar="Pong,Qbert", help="Pong is PongNoFrameskip-v4; any id is itself")
    add("--steps", type=positive, metavar="N", help="of each run, rounded up to whole rollouts")
    add("--seeds", default="1", metavar="1,2", help="of each game; default 1")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting")
    add("--pfile", type=presets.find, metavar="FILE", help="settings, or a preset's name")
    add("--workers", type=positive, default=1, metavar="K", help="runs at a time; default 1")
    add("--sb3", type=expanded, metavar="PYTHON", help=f"train {SB3} with this interpreter")
    add("--only-table", action="store_true", help="write the table of what has finished")
    add("--results", type=expanded, metavar="FILE", help="add to these, and show all of them")
    add("--machine", metavar="TEXT", help="what the runs of LOGDIR were made on, for --results")
    add("--page", type=expanded, metavar="FILE", help="put the table into a page, too")
    add("--figure", type=expanded, metavar="FILE", help="draw the learning curves of all, as a PNG")
    options = parser.parse_args(arguments)
    if not options.only_table and not (options.games and options.steps):
        parser.error("--games and --steps are needed, or --only-table")
    return options


if __name__ == "__main__":
    sys.exit(main())
