"""Entry points of training: run and resume. TensorFlow is imported only when a run starts."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo import checkpoint, params
from ppo.distribution import connect
from ppo.envs import catalog
from ppo.files.folder import RunFolder, check_new, check_run, owned, write_whole
from ppo.outcomes import Diverged, Stopped
from ppo.params import GameSettings, NetworkSettings, Params, ParamsError, ResolvedParams
from ppo.process.device import start_tensorflow
from ppo.process.signals import StopRequest
from ppo.resolve import resolved

__all__ = ["Diverged", "Stopped", "resume", "run"]

# What a run's games, network, storage and bits depend on.
FIXED_ON_RESUME = frozenset(
    [
        *GameSettings.model_fields,
        *NetworkSettings.model_fields,
        *("num_steps", "num_epochs", "seed", "threads"),
    ]
)


def run(settings: Params, logdir: str | Path, began: float | None = None) -> None:
    """Train from the beginning, in a new or empty folder. The run's clock started at ``began``,
    a reading of time.monotonic(), or now.

    Raises FolderError (nothing was created), Stopped (all saved), Diverged, or OSError.
    """
    logdir, began = Path(logdir), began or time.monotonic()
    check_new(logdir)
    whole = resolved(settings)
    workers = start_tensorflow(whole.threads, connect)

    from ppo.runs.session import Session

    with StopRequest() as stop, owned(logdir) as folder:
        write_whole(folder.params, whole.to_json().encode())
        Session(whole, folder, stop, began, workers).go()


def resume(logdir: str | Path, overrides: Sequence[str] = (), began: float | None = None) -> None:
    """Resume from the newest valid checkpoint of a run, or say that it is done.

    ``overrides`` may change settings that are not in FIXED_ON_RESUME.
    Raises ParamsError, FolderError (nothing was changed), CheckpointError, and as ``run``.
    """
    logdir, began = Path(logdir), began or time.monotonic()
    check_run(logdir)
    stored = params.load(RunFolder(logdir).params, checks=[catalog.check])
    whole = resolved(params.load(RunFolder(logdir).params, overrides, [catalog.check]))
    changes = _changes(stored.model_dump(), whole)
    workers = start_tensorflow(whole.threads, connect)

    from ppo.runs.session import Session

    with StopRequest() as stop, owned(logdir) as folder:
        newest = _newest(folder)
        if newest:  # params.json may have been edited by hand
            changes = _changes(newest.session.params, whole)
        Session(whole, folder, stop, began, workers, newest, changes).go()


def _changes(before: Mapping[str, Any], now: ResolvedParams) -> dict[str, tuple[object, object]]:
    """The settings that differ, with both values. Raises ParamsError for those that may not.

    A setting that the run does not have yet counts as its default.
    """
    old = {key: before.get(key, field.default) for key, field in Params.model_fields.items()}
    changes = {key: (old[key], new) for key, new in now if new != old[key]}
    refused = [
        f"{key} = {new!r}: this run began with {old!r}, which a resume cannot change; "
        "start a new run for it"
        for key, (old, new) in changes.items()
        if key in FIXED_ON_RESUME
    ]
    if refused:
        raise ParamsError(refused)
    return changes


def _newest(folder: RunFolder) -> checkpoint.Checkpoint | None:
    """The newest valid checkpoint; None for a run that ended before it saved anything."""
    if not folder.progress.exists() and not any(folder.checkpoints.glob("*.ckpt")):
        return None
    return checkpoint.newest(folder, warn=print)
