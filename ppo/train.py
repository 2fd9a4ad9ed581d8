"""Entry points of training: run, resume and fork. TensorFlow is imported only when a run starts."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ppo import checkpoint, params
from ppo.checkpoint import Checkpoint, CheckpointError, Which
from ppo.envs import factories, registry
from ppo.envs.episode import EpisodeMismatch
from ppo.envs.factories import Factory
from ppo.envs.registry import resolved
from ppo.errors import (
    Collapsed,
    Diverged,
    EnvironmentFailed,
    Refused,
    Stopped,
    WorkerLost,
    WorkersDiffer,
)
from ppo.files import evaluations, origin
from ppo.files.folder import (
    LOCK,
    FolderError,
    RunFolder,
    check_new,
    check_run,
    owned,
    while_there,
    write_whole,
)
from ppo.files.held import with_names
from ppo.files.origin import Changes, Origin
from ppo.params import Overrides, ParamsError, Source
from ppo.runs.ending import Result
from ppo.runs.level import with_known_level
from ppo.runs.start import GAME_RULES, Start, for_fork, is_due, overrides_to_continue, run_of
from ppo.settings import EARLIER, FIXED_ON_FORK, INCIDENTAL, Params, ResolvedParams, marked
from ppo.system.arguments import expanded
from ppo.system.device import available_memory, start_tensorflow, visible_gpus
from ppo.system.signals import StopRequest, interrupt_ends
from ppo.system.streams import counted, say
from ppo.telemetry import log
from ppo.workers.cluster import ClusterError, Worker, exposure, this_worker
from ppo.workers.interface import Workers
from ppo.workers.local import LocalWorkers

if TYPE_CHECKING:
    from ppo.runs.observers import Callback

__all__ = [
    "CheckpointError",
    "ClusterError",
    "Collapsed",
    "Diverged",
    "EnvironmentFailed",
    "FolderError",
    "ParamsError",
    "Refused",
    "Result",
    "Stopped",
    "WorkerLost",
    "WorkersDiffer",
    "fork",
    "resume",
    "run",
]

FIXED_ON_RESUME = frozenset(marked("fixed"))


def run(
    settings: Source,
    logdir: str | Path,
    overrides: Overrides = (),
    *,
    env: str | Factory | None = None,
    callback: "Callback | None" = None,
    began: float | None = None,
) -> Result:
    """Train a new run in a new or empty folder, and return its result.

    ``settings`` are a JSON file, the name of a preset, a mapping or Params, with ``overrides`` on
    top. A mapping begins with the usual settings of its game, as ``--env`` does. ``env`` is an id,
    or a function that returns a new environment. It replaces the game of a file, a preset or
    Params. To resume, fork or load the run in another process, give the same function again.

    ``callback`` is called with each Iteration. If it returns False, the run stops with everything
    saved, and returns. If it raises an error, the run stops in the same way and raises that error.

    ``began`` is when the clock started, by time.monotonic(); default now. TF_CONFIG or Slurm may
    make this process one of several workers; only the first writes the folder. Outside the main
    thread no signal stops the run.

    Raises ParamsError and FolderError (nothing was created), Stopped or Collapsed (all saved),
    EnvironmentFailed (what was learnt is saved), Diverged, OSError, ClusterError, WorkerLost and
    WorkersDiffer.
    """
    logdir, began, worker = expanded(logdir), began or time.monotonic(), this_worker()
    if worker.index == 0:
        check_new(logdir)
    given = params.with_workers(new_settings(settings, overrides, env), worker.count)
    resolved_params = resolved(given, worker.on_this_machine)
    return _train(resolved_params, logdir, began, lambda _: Start(), worker, callback, is_new=True)


def new_settings(source: Source, overrides: Overrides, env: str | Factory | None) -> Params:
    """Return the settings of a new run, given as for ``run``. Raises ParamsError, TypeError and
    EnvironmentFailed.
    """
    changes = params.texts(overrides)
    env_id = params.game_of(source if isinstance(source, Mapping) else {}, changes)
    if env is not None:
        named, env_id = env_id, factories.id_of(env)
        if named not in (None, env_id):
            raise ParamsError(
                f"env and env_id = {named!r} both name the game; leave one of them out"
            )
        changes.append(f"env_id={env_id}")
    if isinstance(source, Mapping) and env_id:
        source = {**registry.settings_for(env_id), **source}
    return params.load(source, changes, [registry.check_new])


def resume(
    logdir: str | Path,
    overrides: Overrides = (),
    *,
    new_games: bool = False,
    env: Factory | None = None,
    callback: "Callback | None" = None,
    began: float | None = None,
) -> Result:
    """Resume a run from its newest valid checkpoint, and return its result. A finished run is not
    trained further. A fork without a checkpoint begins again where it was forked.

    ``overrides`` may change settings that are not in FIXED_ON_RESUME; a null or "auto" value keeps
    the run's value. With ``new_games``, all envs begin new games if an unfinished game does not
    replay as recorded. ``env`` is the run's function, if it has one; ``callback`` is as in ``run``.

    Raises ParamsError and FolderError (nothing was changed), Refused for an ``env`` of a run that
    had none, CheckpointError, and as ``run``.
    """
    logdir, began, worker = expanded(logdir), began or time.monotonic(), this_worker()
    check_run(logdir)
    log.check(RunFolder(logdir))
    evaluations.read(RunFolder(logdir))  # refuses a file that cannot be read
    stored = params.load_run(RunFolder(logdir).params)
    if stored.workers != worker.count:
        raise ParamsError(
            f"this run was started with --workers={stored.workers} and can only be resumed with "
            f"that. For {counted(worker.count, 'worker')}, begin a new run from it: --fork={logdir}"
        )
    settings = _changed(stored, RunFolder(logdir), params.texts(overrides), env)
    own = {key: value for key, value in stored if settings.leaves_open(key)}
    resolved_params = resolved(settings.model_copy(update=own), worker.on_this_machine)
    changes = _changes(stored.model_dump(), resolved_params)
    _check_ignored_changes(RunFolder(logdir), resolved_params)

    def start(folder: RunFolder) -> Start:
        if params.load_run(folder.params) != stored:
            raise FolderError(f"{logdir} was changed or moved meanwhile; try again")
        if folder.has_saved:
            newest = checkpoint.newest(folder, warn=lambda warning: say(with_names(warning)))
            # params.json may have been edited by hand
            edited = _changes(run_of(newest).params, resolved_params)
            known = with_known_level(newest, folder.path, resolved_params)
            return Start(known, edited, new_games, unstored=changes)
        # It ended before it saved anything.
        if began_from := origin.read(folder):
            return _forked_again(folder, began_from, resolved_params, new_games)
        return Start(None, changes, new_games, unstored=changes)

    return _train(resolved_params, logdir, began, start, worker, callback)


def fork(
    source: str | Path,
    logdir: str | Path,
    overrides: Overrides = (),
    step: Which = "newest",
    *,
    env: Factory | None = None,
    callback: "Callback | None" = None,
    began: float | None = None,
) -> Result:
    """Begin a new run with the weights, optimiser, unfinished games and counters of another run's
    checkpoint: its newest valid one, its best, or a step's. The other run may be in progress.

    With nothing changed, the fork repeats the other run bit for bit. It takes the run's present
    settings, which a resume may have changed after ``step``. ``overrides`` may change any
    setting not in FIXED_ON_FORK. ``value_gradient`` may change unless one of the two runs has a
    separate value network. With fewer envs the last envs' games are dropped; with more envs new
    games begin. If their rules change (frame skip, sticky actions, no-ops, FIRE at the start, time
    limit), new games begin in all envs, and scores from before do not count. ``env`` and
    ``callback`` are as in ``resume``.

    Raises as ``run`` and ``resume``.
    """
    source, logdir, began = expanded(source), expanded(logdir), began or time.monotonic()
    worker = this_worker()
    if worker.index == 0:
        check_new(logdir)
    check_run(source)
    source_folder = RunFolder(source)
    stored = params.load_run(source_folder.params)
    changes = [f"workers={worker.count}", *params.texts(overrides)]
    settings = _changed(stored, source_folder, changes, env)
    resolved_params = resolved(params.with_workers(settings, worker.count), worker.on_this_machine)
    saved = checkpoint.chosen(source_folder, step, warn=say)
    begins = _forked(saved, source, resolved_params)

    def start(folder: RunFolder) -> Start:
        write_whole(folder.fork_start, checkpoint.encode(saved))
        first_entry = origin.first_entry(source, saved.step)
        origin.write(folder, Origin(source, saved.step, begins.changes, first_entry))
        return begins

    return _train(resolved_params, logdir, began, start, worker, callback, is_new=True)


def _train(
    resolved_params: ResolvedParams,
    logdir: Path,
    began: float,
    start: Callable[[RunFolder], Start],
    worker: Worker,
    callback: "Callback | None",
    is_new: bool = False,
) -> Result:
    """Train as the only owner of a folder. ``start`` prepares the folder and returns the starting
    point. The other workers receive the starting point from the first worker, and write no folder.
    """
    if not (callback is None or callable(callback)):
        raise TypeError(f"callback must be a function: {callback!r}")
    check_machine(resolved_params, worker.on_this_machine)
    if others := worker.count - 1:
        # otherwise TensorFlow logs each lost worker in many lines
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        if not worker.link:
            say(exposure(gpu=bool(visible_gpus())))
        if worker.index == 0:
            say(f"waiting for {counted(others, 'other worker')}")
    workers = start_tensorflow(resolved_params.threads, lambda: connect(worker))

    _check_network(resolved_params)
    from ppo.runs.follower import follow, send_start
    from ppo.runs.session import Session

    with StopRequest(second_ends=not worker.link) as stop:
        if worker.index > 0:
            return follow(workers, resolved_params.threads, stop, logdir)
        with owned(logdir) as folder:
            if is_new:
                check_new(folder.path)  # check again: another run may have begun there meanwhile
                origin.remove(folder)  # left by a fork that ended before it had settings
            with _emptied_if_it_fails(folder) if is_new else nullcontext():
                begins = start(folder)
                if is_new:
                    write_whole(folder.params, resolved_params.to_json().encode())
                send_start(workers, resolved_params, begins)
                with while_there(folder):
                    session = Session(
                        resolved_params, folder, stop, began, workers, begins, callback
                    )
                    session.go()
                    return session.result


@contextmanager
def _emptied_if_it_fails(folder: RunFolder) -> Iterator[None]:
    """Remove the settings of a new run that fails before it has saved anything, to free its folder
    for another run. A run that was stopped, or that can be resumed with new games, keeps them.
    """
    try:
        yield
    except (Stopped, WorkerLost, EpisodeMismatch):
        raise
    except Exception:
        if not folder.has_saved:
            folder.params.unlink(missing_ok=True)
            origin.remove(folder)
            with suppress(OSError):
                folder.checkpoints.rmdir()
            (folder.path / LOCK).unlink(missing_ok=True)  # it marks settings as a run's own
        raise


def connect(worker: Worker) -> Workers:
    """Connect to the run's other workers and wait for them. Raises ClusterError and WorkerLost."""
    if worker.count == 1:
        return Workers()
    with interrupt_ends():  # TensorFlow waits for the others in a call that keeps Python's lock
        if worker.link:
            return LocalWorkers(worker.link)
        from ppo.workers.collectives import Collectives

        return Collectives(worker)


def _changed(
    stored: Params, folder: RunFolder, changes: Sequence[str], env: Factory | None
) -> Params:
    """Return the settings of a run with changes on top. Raises ParamsError, also for a change that
    a fork may make but that has no effect, and Refused for an ``env`` of a run that had none.
    """
    changes = [*factories.given_again(env, stored.env_id), *changes]
    settings = params.load_run(folder.params, changes, [registry.check_again(env)])
    forkable = FIXED_ON_RESUME - FIXED_ON_FORK
    changed = {key for key, value in settings if key in forkable and value != getattr(stored, key)}
    others = Params.model_fields.keys() - changed - {"env_id", "network"}
    if faults := registry.without_effect(settings, frozenset(others)):
        raise ParamsError(faults)
    return settings


def _check_ignored_changes(folder: RunFolder, resolved_params: ResolvedParams) -> None:
    """Raise ParamsError if settings change that a finished run would ignore. The settings of an
    evaluation or video that is still due may change.
    """
    if not any(folder.checkpoints.glob("*.ckpt")):
        return
    newest = checkpoint.newest(folder)  # without warnings: it is read again
    if not newest.trainer.tally.ends_run(newest.step, resolved_params):
        return
    changed = _changes(run_of(newest).params, resolved_params)
    if ignored := [key for key in changed if not (is_due(newest) and key in INCIDENTAL)]:
        more = overrides_to_continue(newest.step, newest.trainer.tally, resolved_params)
        raise ParamsError(
            f"{folder.path} is done at step {newest.step:,}, so {', '.join(ignored)} would change "
            f"nothing. Continue it with --set {' --set '.join(more)} (in Python: {more})"
        )


def check_machine(settings: ResolvedParams, processes: int) -> None:
    """Raise ParamsError if a rollout's observations do not fit this process's share of the memory.
    Also raise it if the run needs Weights & Biases, and that is not installed.
    """
    shape = registry.observation_shape(settings)
    wanted = settings.batch_size * math.prod(shape)
    if settings.sees_images:
        # The update keeps a converted copy beside them: bytes, or two bytes a pixel.
        wanted *= 2 if settings.precision == "float32" else 3
    elif len(shape) == 1:
        wanted *= 4  # bytes of a float32
    available, faults = available_memory() / processes, []
    if wanted > available:
        faults.append(
            f"num_envs {settings.num_envs} x num_steps {settings.num_steps}: the observations of "
            f"one rollout take {wanted / 2**30:.1f} GiB of memory. This process has "
            f"{available / 2**30:.1f} GiB. Choose fewer envs or steps"
        )
    if settings.wandb_project and not find_spec("wandb"):
        faults.append(
            f"wandb_project = {settings.wandb_project!r}: Weights & Biases is not installed; "
            "install it with: pip install wandb"
        )
    if faults:
        raise ParamsError(faults)


def _check_network(settings: ResolvedParams) -> None:
    """Raise ParamsError if the user's own network cannot be built; imports TensorFlow."""
    if settings.is_custom:
        from ppo import model

        try:
            for _ in range(2):  # a layer from outside the function can be used only once
                model.build_model(registry.observation_shape(settings), 1, settings)
        except ValueError as error:
            raise ParamsError(f"network = {settings.network!r}: {error}") from error


def _changes(
    before: Mapping[str, Any], now: ResolvedParams, what: Literal["resume", "fork"] = "resume"
) -> Changes:
    """Return the settings that differ, with both values. A setting that the run lacks counts as its
    value in ``EARLIER``, or else as its default. Raises ParamsError for those that may not change.
    """
    old = {**Params().model_dump(), **EARLIER, **before}
    if factories.is_factory(old["env_id"]) and factories.is_factory(now.env_id):
        old["env_id"] = now.env_id  # only its number in the process may differ
    separate = "separate" in (old["value_gradient"], now.value_gradient)
    on_fork = FIXED_ON_FORK | ({"value_gradient"} if separate else set())
    fixed = on_fork if what == "fork" else FIXED_ON_RESUME
    changes = {key: (old[key], new) for key, new in now if new != old[key]}
    refused = [
        f"{key} = {new!r}: this run began with {began_with!r}, which a {what} cannot change; "
        + ("start a new run for it" if key in on_fork else "a --fork of the run can")
        for key, (began_with, new) in changes.items()
        if key in fixed
    ]
    if refused:
        raise ParamsError(refused)
    return changes


def _forked(
    saved: Checkpoint, source: Path, resolved_params: ResolvedParams, new_games: bool = False
) -> Start:
    """Return the start of a fork from another run's checkpoint. The cuts by the other run's
    rollbacks do not apply to a new learning rate, and its scores do not count under new rules.
    Raises ParamsError for a forbidden change, and if nothing is left to train.
    """
    before = run_of(saved).params
    changes = _changes(before, resolved_params, "fork")
    tally = saved.trainer.tally
    if "learning_rate" in changes:
        tally = replace(tally, rollbacks=0, rate_share=1.0)
    if changes.keys() & GAME_RULES:
        tally = replace(tally, best_score=None, recent=(), episodes=0)
    if tally.ends_run(saved.step, resolved_params):
        more = overrides_to_continue(saved.step, tally, resolved_params)
        raise ParamsError(
            f"{source} is done at step {saved.step:,} with these settings, so a fork would train "
            f"nothing. Use --set {' --set '.join(more)}, or fork an earlier checkpoint, "
            f"{source}@STEP (in Python: {more}, or step=STEP)"
        )
    begun = for_fork(with_known_level(saved, source, resolved_params), bool(changes))
    begun = replace(begun, trainer=begun.trainer.model_copy(update={"tally": tally}))
    return Start(begun, changes, new_games, source)


def _forked_again(
    folder: RunFolder, began_from: Origin, resolved_params: ResolvedParams, new_games: bool
) -> Start:
    """Return the start of a fork that has not saved anything. Raises CheckpointError."""
    if folder.fork_start.is_file():
        saved = checkpoint.read(folder.fork_start)
    else:  # forks of earlier versions have no copy
        saved = checkpoint.chosen(RunFolder(began_from.run), began_from.step)
    begins = _forked(saved, began_from.run, resolved_params, new_games)
    origin.write(folder, replace(began_from, changes=begins.changes))
    write_whole(folder.params, resolved_params.to_json().encode())
    return begins
