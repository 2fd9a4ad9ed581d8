"""The state of a trainer: captured in a checkpoint, restored exactly, or continued by a fork."""

from collections.abc import Callable

from ppo.checkpoint import Checkpoint, MisfitError, TrainerFacts, UnfinishedFacts, grouped
from ppo.envs.episode import MOST_RESETS, EpisodeMismatch, UnfinishedEpisode, episode_of, facts_of
from ppo.envs.fleet import Unfinished
from ppo.runs.start import Continued
from ppo.trainer import LearnerState, Trainer
from ppo.workers.messages import run_on_all


def capture(trainer: Trainer) -> Checkpoint:
    """Return the state from which training resumes, at the end of the last iteration."""
    learner, unfinished = trainer.learner(), trainer.unfinished.episodes
    arrays = {
        **grouped("weights", learner.weights),
        **grouped("adam", learner.adam),
        **grouped("actions", [episode.actions for episode in unfinished]),
        "smoothed": trainer.rescaling_state,
    }
    facts = TrainerFacts(
        tally=trainer.tally,
        seed_every_episode=trainer.envs.seeds_every_episode,
        observations=trainer.unfinished.checksum,
        unfinished=tuple(UnfinishedFacts(**facts_of(episode)) for episode in unfinished),
        workers=trainer.params.workers,
        schedules=trainer.schedules_at(trainer.step),
    )
    return Checkpoint(trainer.step, arrays, facts)


def restore(
    trainer: Trainer,
    saved: Checkpoint,
    interrupted: Callable[[], bool] = lambda: False,
    continued: Continued = "all",
    new_games: bool = False,
) -> str | None:
    """Resume from a captured state. The ``continued`` episodes are replayed up to their last
    action. The other envs begin new episodes.

    Raises MisfitError if the checkpoint does not fit the settings, and Interrupted on request. If
    an episode does not replay as recorded, raises EpisodeMismatch. With ``new_games`` all envs
    begin new episodes instead, and the message is returned.
    """
    games, envs = len(saved.trainer.unfinished), len(trainer.unfinished.episodes)
    if continued == "all" and games != envs:
        raise MisfitError(saved.step, f"{games} unfinished games for {envs} envs")
    _check_fit(trainer, saved)
    weights, adam = saved.group("weights"), saved.group("adam")
    trainer.restore_learner(LearnerState(weights, adam, [saved.arrays["smoothed"]]))
    facts = saved.trainer
    trainer.step, trainer.tally = saved.step, facts.tally
    if facts.seed_every_episode:
        trainer.envs.seed_every_episode()
    if continued == "none":
        return None
    episodes = [
        episode_of(UnfinishedEpisode, dict(one), actions)
        for one, actions in zip(facts.unfinished, saved.group("actions"), strict=True)
    ]
    # With several workers, the checksum combines their checksums and so needs the same number.
    checksum = facts.observations if facts.workers == trainer.params.workers else None
    try:
        _restore_unfinished(trainer, Unfinished(episodes, checksum), interrupted)
    except EpisodeMismatch as error:
        if not new_games:
            raise
        trainer.new_games()
        return str(error)
    return None


def _check_fit(trainer: Trainer, saved: Checkpoint) -> None:
    """Raise MisfitError unless every array has the shape of the array it restores."""
    groups = {"weights": trainer.model.weights, "adam": trainer.updater.adam.variables()}
    for name, variables in groups.items():
        theirs = [array.shape for array in saved.group(name)]
        ours = [tuple(variable.shape) for variable in variables]
        if theirs != ours:
            raise MisfitError(saved.step, f"its {name} have shapes {theirs}, the run's {ours}")
    actions, episodes = saved.group("actions"), saved.trainer.unfinished
    if len(actions) != len(episodes):
        reason = f"{len(episodes)} unfinished games, actions of {len(actions)}"
        raise MisfitError(saved.step, reason)
    if any(a.size and not 0 <= a.min() <= a.max() < trainer.envs.num_actions for a in actions):
        raise MisfitError(saved.step, "an action that the game does not have")
    if any(episode.resets > MOST_RESETS for episode in episodes):
        raise MisfitError(saved.step, f"more than {MOST_RESETS} resets since a seed")
    if getattr(saved.arrays.get("smoothed"), "shape", None) != (2,):
        raise MisfitError(saved.step, "it lacks the state of the value rescaling")


def _restore_unfinished(
    trainer: Trainer, saved: Unfinished, interrupted: Callable[[], bool]
) -> None:
    """Replay the episodes of this worker. If one differs on any worker, every worker raises."""
    first, envs = trainer.workers.index * trainer.params.num_envs, len(trainer.unfinished.episodes)
    own = saved.episodes[first : first + trainer.params.num_envs]
    run_on_all(trainer.workers, trainer.step, lambda: trainer.envs.restore(own, interrupted))
    trainer.unfinished = trainer.all_unfinished()
    comparable = len(saved.episodes) == envs and saved.checksum is not None
    if comparable and saved.checksum != trainer.unfinished.checksum:
        raise EpisodeMismatch(
            f"the unfinished games of {trainer.envs.rules.game} do not show what they showed before"
        )
