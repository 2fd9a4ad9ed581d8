"""Entry points of training: run, resume and fork. TensorFlow is imported only when a run starts."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ppo import checkpoint, params
from ppo.checkpoint import CheckpointError, Which
from ppo.envs import checks, factories, registry
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
from ppo.files.atomic import write_whole
from ppo.files.folder import LOCK, FolderError, RunFolder, check_new, check_run
from ppo.files.held import with_names
from ppo.files.lock import owned, while_there
from ppo.files.origin import Origin
from ppo.params import Overrides, ParamsError, Source
from ppo.runs.changes import (
    changed_settings,
    check_ignored_changes,
    compare_settings,
    forked,
    forked_again,
)
from ppo.runs.ending import Result
from ppo.runs.level import with_known_level
from ppo.runs.start import Start, run_of
from ppo.settings import Params, ResolvedParams
from ppo.system.arguments import expanded
from ppo.system.device import available_memory, visible_gpus
from ppo.system.signals import StopRequest, interrupt_ends
from ppo.system.streams import counted, say
from ppo.system.tensorflow_start import start_tensorflow
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
    return params.load(source, changes, [checks.check_new])


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

    ``overrides`` may change settings outside ``FIXED_ON_RESUME``; a null or "auto" value keeps
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
    settings = changed_settings(stored, RunFolder(logdir), params.texts(overrides), env)
    own = {key: value for key, value in stored if settings.leaves_open(key)}
    resolved_params = resolved(settings.model_copy(update=own), worker.on_this_machine)
    changes = compare_settings(stored.model_dump(), resolved_params)
    check_ignored_changes(RunFolder(logdir), resolved_params)

    def start(folder: RunFolder) -> Start:
        if params.load_run(folder.params) != stored:
            raise FolderError(f"{logdir} was changed or moved meanwhile; try again")
        if folder.has_saved:
            newest = checkpoint.newest(folder, warn=lambda warning: say(with_names(warning)))
            # params.json may have been edited by hand
            edited = compare_settings(run_of(newest).params, resolved_params)
            known = with_known_level(newest, folder.path, resolved_params)
            return Start(known, edited, new_games, unstored=changes)
        # It ended before it saved anything.
        if began_from := origin.read(folder):
            return forked_again(folder, began_from, resolved_params, new_games)
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
    settings = changed_settings(stored, source_folder, changes, env)
    resolved_params = resolved(params.with_workers(settings, worker.count), worker.on_this_machine)
    saved = checkpoint.chosen(source_folder, step, warn=say)
    begins = forked(saved, source, resolved_params)

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
