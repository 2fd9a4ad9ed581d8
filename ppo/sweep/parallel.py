"""Runs side by side, each in its own process."""

import itertools
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from ppo import checkpoint
from ppo.errors import ExitCode
from ppo.files.atomic import unshare
from ppo.files.folder import RunFolder
from ppo.params import ParamsError, texts
from ppo.runs.start import is_finished
from ppo.settings import Params
from ppo.sweep.grid import Run, changes
from ppo.sweep.overview import Overview
from ppo.system import reading, streams
from ppo.system.children import RUN_ATARI, Children
from ppo.system.signals import on_stop
from ppo.telemetry.figures import legible

# The words of a command that makes several runs.
STOPPED = "stopped; call the same command again to resume"

_ONE_AT_A_TIME = threading.Lock()

Call = Callable[..., int]
OneRun = TypeVar("OneRun", bound=Run)


def run_all(
    runs: Sequence[OneRun],
    workers: int,
    children: Children,
    done: Callable[[OneRun], bool],
    go: Callable[[OneRun, Call], int],
) -> list[str]:
    """Make all runs that are not done, ``workers`` at a time. ``go`` starts or resumes a run with a
    function like ``subprocess.call`` and returns its exit code. A run does not begin if ``done``
    raises OSError. Return a line for each run that did not finish, except the runs stopped with
    ``children``. A terminal shows the progress.
    """
    overview = Overview(runs)

    def make(run: OneRun) -> str:
        """Return how a run ended, if it did not end well."""
        if children.stopped:
            return ""
        try:
            if done(run):
                say(f"{run.name}: was done already")
                return ""
            say(f"{run.name}: {'resumes' if RunFolder(run.folder).has_saved else 'begins'}")
            code = children.perform(partial(go, run))
        except (ParamsError, OSError) as error:
            return " ".join(str(error).splitlines())
        if code in (ExitCode.STOPPED, -signal.SIGTERM) and children.stopped:
            return ""
        ending = "done" if code == 0 else f"ended with exit code {code}; see {run.log}"
        say(f"{run.name}: {ending}")
        return "" if code == 0 else ending

    def outcome(run: OneRun) -> str:
        with overview.under_way(run):
            fault = make(run)
        overview.count_end(run, bool(fault))
        return fault

    with on_stop(children.stop), overview.live, ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(outcome, runs))
    return [f"{run.name}: {fault}" for run, fault in zip(runs, outcomes, strict=True) if fault]


def train_all(
    runs: Sequence[OneRun],
    workers: int,
    children: Children,
    source: str,
    settings: Callable[[OneRun], Params],
    check: Callable[[], None] = lambda: None,
    may_diverge: bool = False,
) -> list[str]:
    """Make all runs as ``run_all`` does, from the argument ``source`` and with their settings,
    while ``check`` does not raise OSError. If they ``may_diverge``, one that diverged is done.
    """

    def done(run: OneRun) -> bool:
        check()
        return (may_diverge and diverged(run)) or finished(run, settings(run))

    def go(run: OneRun, call: Call) -> int:
        code = begin_or_resume(run, source, settings(run), call)
        return ExitCode.DONE if may_diverge and diverged(run) else code

    return run_all(runs, workers, children, done, go)


def call_with_log(run: Run, arguments: Sequence[str], call: Call) -> int:
    """Call the command for a run. Its output is written to ``NAME.log`` beside its folder."""
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    reading.check(run.log)
    unshare(run.log)
    with open(run.log, "a") as log:
        return call([*RUN_ATARI, f"--logdir={run.folder}", *arguments], stdout=log, stderr=log)


def begin_or_resume(run: Run, source: str, params: Params, call: Call) -> int:
    """Begin a run with its overrides and the argument ``source``, such as --pfile=FILE. If it has
    begun, resume it with the settings that may change. Return the command's exit code.
    """
    overrides: Sequence[str] = run.overrides
    if RunFolder(run.folder).params.exists():
        source = "--resume"
        overrides = texts(changes(run, params))
    sets = itertools.chain(*(("--set", text) for text in overrides))
    return call_with_log(run, [source, *sets], call)


def finished(run: Run, params: Params) -> bool:
    """Whether a run has nothing left to do, according to its newest valid checkpoint."""
    try:
        newest = checkpoint.newest(RunFolder(run.folder))
    except (checkpoint.CheckpointError, OSError):
        return False
    return is_finished(newest, params)


def diverged(run: Run) -> bool:
    """Whether a run ended because a number was not finite."""
    return any(run.folder.glob("diverged-*.npz"))


def say(text: str) -> None:
    """Print a line as ``streams.say`` does, whole even when other threads print."""
    with _ONE_AT_A_TIME:
        streams.say(legible(text))
