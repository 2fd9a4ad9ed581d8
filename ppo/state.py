"""The state of a trainer: captured in a checkpoint, restored exactly, or continued by a fork."""

from collections.abc import Callable

from ppo.checkpoint import Checkpoint, MisfitError, TrainerFacts, UnfinishedFacts, grouped
from ppo.envs.episode import EpisodeMismatch, UnfinishedEpisode, episode_of, facts_of
from ppo.exchange import Games, together
from ppo.trainer import Learner, Trainer

MOST_RESETS = 1000  # since a seed; more than any run makes


def capture(trainer: Trainer) -> Checkpoint:
    """Return the state from which training resumes, at the end of the last iteration."""
    learner, unfinished = trainer.learner(), trainer.games.unfinished
    arrays = {
        **grouped("weights", learner.weights),
        **grouped("adam", learner.adam),
        **grouped("actions", [episode.actions for episode in unfinished]),
        "smoothed": trainer.smoothed,
    }
    facts = TrainerFacts(
        **trainer.tally.facts(),
        seed_every_episode=trainer.envs.seeds_every_episode,
        observations=trainer.games.shown,
        unfinished=tuple(UnfinishedFacts(**facts_of(episode)) for episode in unfinished),
    )
    return Checkpoint(trainer.step, arrays, facts)


def restore(
    trainer: Trainer, saved: Checkpoint, interrupted: Callable[[], bool] = lambda: False
) -> None:
    """Resume from a captured state: unfinished episodes are replayed up to their last action.

    Raises MisfitError if the checkpoint is of other settings, EpisodeMismatch if an episode does
    not replay as recorded, Interrupted on request.
    """
    episodes = len(saved.trainer.unfinished)
    envs = trainer.params.num_envs * trainer.params.workers
    if episodes != envs:
        raise MisfitError(saved.step, f"{episodes} unfinished games for {envs} envs")
    fork(trainer, saved, True, interrupted)


def fork(
    trainer: Trainer,
    saved: Checkpoint,
    same_rules: bool,
    interrupted: Callable[[], bool] = lambda: False,
) -> None:
    """Begin with the state of a run whose settings may have been others.

    Of its unfinished episodes as many continue as there are envs; further envs begin new ones,
    and so do all of them unless the games have the ``same_rules``. Raises as ``restore``.
    """
    _check_fit(trainer, saved)
    smoothed = [saved.arrays["smoothed"]]
    trainer.learn_from(Learner(saved.group("weights"), saved.group("adam"), smoothed))
    trainer.tally.restore(saved)
    facts = saved.trainer
    if facts.seed_every_episode:
        trainer.envs.seed_every_episode()
    if same_rules:
        episodes = [
            episode_of(UnfinishedEpisode, dict(one), actions)
            for one, actions in zip(facts.unfinished, saved.group("actions"), strict=True)
        ]
        # The checksum of several workers' observations is one of theirs.
        as_many = saved.session.params.get("workers", 1) == trainer.params.workers
        shown = facts.observations if as_many else None
        _restore_games(trainer, Games(episodes, shown), interrupted)


def _check_fit(trainer: Trainer, saved: Checkpoint) -> None:
    """Raise MisfitError unless every array has the shape of the one it restores."""
    learner = trainer.learner()
    for name, own in (("weights", learner.weights), ("adam", learner.adam)):
        theirs, ours = ([array.shape for array in arrays] for arrays in (saved.group(name), own))
        if theirs != ours:
            raise MisfitError(saved.step, f"its {name} are {theirs}, the run's {ours}")
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


def _restore_games(trainer: Trainer, saved: Games, interrupted: Callable[[], bool]) -> None:
    """Replay the episodes of this worker. If one differs on any worker, all raise."""
    first, whole = trainer.workers.index * trainer.params.num_envs, len(trainer.games.unfinished)
    own = saved.unfinished[first : first + trainer.params.num_envs]
    together(trainer.workers, trainer.step, lambda: trainer.envs.restore(own, interrupted))
    trainer.games = trainer.all_games()
    comparable = len(saved.unfinished) == whole and saved.shown is not None
    if comparable and saved.shown != trainer.games.shown:
        raise EpisodeMismatch(
            f"the unfinished games of {trainer.envs.rules.game} do not show what they showed before"
        )
