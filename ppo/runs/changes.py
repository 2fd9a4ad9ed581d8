"""What a resume or a fork changes in a run, and whether it may."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ppo import checkpoint, params
from ppo.checkpoint import Checkpoint
from ppo.envs import checks, factories
from ppo.envs.factories import Factory
from ppo.files import origin
from ppo.files.atomic import write_whole
from ppo.files.folder import RunFolder
from ppo.files.origin import Changes, Origin
from ppo.params import ParamsError
from ppo.runs.level import with_known_level
from ppo.runs.start import GAME_RULES, Start, for_fork, is_due, overrides_to_continue, run_of
from ppo.settings import EARLIER, FIXED_ON_FORK, INCIDENTAL, Params, ResolvedParams, marked

FIXED_ON_RESUME = frozenset(marked("fixed"))


def changed_settings(
    stored: Params, folder: RunFolder, changes: Sequence[str], env: Factory | None
) -> Params:
    """Return the settings of a run with changes on top. Raises ParamsError, also for a change that
    a fork may make but that has no effect, and Refused for an ``env`` of a run that had none.
    """
    changes = [*factories.given_again(env, stored.env_id), *changes]
    settings = params.load_run(folder.params, changes, [checks.check_again(env)])
    forkable = FIXED_ON_RESUME - FIXED_ON_FORK
    changed = {key for key, value in settings if key in forkable and value != getattr(stored, key)}
    others = Params.model_fields.keys() - changed - {"env_id", "network"}
    if faults := checks.without_effect(settings, frozenset(others)):
        raise ParamsError(faults)
    return settings


def check_ignored_changes(folder: RunFolder, resolved_params: ResolvedParams) -> None:
    """Raise ParamsError if settings change that a finished run would ignore. The settings of an
    evaluation or video that is still due may change.
    """
    if not any(folder.checkpoints.glob("*.ckpt")):
        return
    newest = checkpoint.newest(folder)  # without warnings: it is read again
    if not newest.trainer.tally.ends_run(newest.step, resolved_params):
        return
    changed = compare_settings(run_of(newest).params, resolved_params)
    if ignored := [key for key in changed if not (is_due(newest) and key in INCIDENTAL)]:
        more = overrides_to_continue(newest.step, newest.trainer.tally, resolved_params)
        raise ParamsError(
            f"{folder.path} is done at step {newest.step:,}, so {', '.join(ignored)} would change "
            f"nothing. Continue it with --set {' --set '.join(more)} (in Python: {more})"
        )


def compare_settings(
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


def forked(
    saved: Checkpoint, source: Path, resolved_params: ResolvedParams, new_games: bool = False
) -> Start:
    """Return the start of a fork from another run's checkpoint. The cuts by the other run's
    rollbacks do not apply to a new learning rate, and its scores do not count under new rules.
    Raises ParamsError for a forbidden change, and if nothing is left to train.
    """
    before = run_of(saved).params
    changes = compare_settings(before, resolved_params, "fork")
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


def forked_again(
    folder: RunFolder, began_from: Origin, resolved_params: ResolvedParams, new_games: bool
) -> Start:
    """Return the start of a fork that has not saved anything. Raises CheckpointError."""
    if folder.fork_start.is_file():
        saved = checkpoint.read(folder.fork_start)
    else:  # forks of earlier versions have no copy
        saved = checkpoint.chosen(RunFolder(began_from.run), began_from.step)
    begins = forked(saved, began_from.run, resolved_params, new_games)
    origin.write(folder, replace(began_from, changes=begins.changes))
    write_whole(folder.params, resolved_params.to_json().encode())
    return begins
