"""The training loop: rollout, advantages, update. It reads and writes no files."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ppo import diagnostics, model
from ppo.advantages import explained_variance, gae
from ppo.checkpoint import Checkpoint, MisfitError, TrainerFacts, UnfinishedFacts, grouped
from ppo.distribution import OneWorker, Workers
from ppo.envs.catalog import rules_of
from ppo.envs.episode import Episode, Reset, UnfinishedEpisode
from ppo.envs.vector import vectors
from ppo.objective import Batch
from ppo.outcomes import Diverged
from ppo.params import ResolvedParams
from ppo.policy import Policy
from ppo.process.device import has_gpu, shards
from ppo.process.keys import Purpose, key, seed31
from ppo.process.signals import Interrupted
from ppo.rollout import Collector, NotFinite
from ppo.schedules import crossed, scheduled
from ppo.update import NO_MEMORY, Updater, flattened

RECENT_EPISODES = 100


@dataclass(frozen=True)
class Iteration:
    """One iteration: the steps before and after it, the episodes that ended in it, and its
    scalars.
    """

    step_before: int
    step: int
    episodes: list[Episode]
    scalars: dict[str, float]

    def crossed(self, interval: int) -> bool:
        """Whether it reached a multiple of the interval."""
        return crossed(interval, self.step_before, self.step)


class Trainer:
    """Envs, network and optimiser of a run."""

    def __init__(self, params: ResolvedParams, workers: Workers | None = None):
        self.params, self.workers = params, workers or OneWorker()
        self.rules = rules_of(params)
        # On a CPU envs and network use all cores in turn: running at once was slower.
        self.vectors = vectors(params, self.rules, count=2 if has_gpu() else 1)
        self.num_actions = self.vectors[0].num_actions
        self.model = model.of_settings(
            self.vectors[0].observations.shape[1:],
            self.num_actions,
            params,
            seed31(params.seed, Purpose.NETWORK),
        )
        self.policy = Policy(self.model, shards(params.threads))
        self.updater = Updater(self.model, params, shards(params.threads), self.workers)
        self.diagnostics = diagnostics.Diagnostics(self.model, params)
        self.collector = Collector(self.vectors, self.policy, params)
        self.smoothed = NO_MEMORY
        self.iteration = self.episodes_played = self.epochs = 0
        self.best_score: float | None = None
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT_EPISODES)
        self._unfinished = self._snapshots()

    @property
    def step(self) -> int:
        """Steps so far."""
        return self.iteration * self.params.batch_size

    def scheduled_at(self, step: int) -> tuple[float, float]:
        """Learning rate and clip range of the update that follows the rollout begun at a step."""
        p, total = self.params, self.params.whole_steps
        return (
            scheduled(p.learning_rate_schedule, p.learning_rate, step, total),
            scheduled(p.clip_range_schedule, p.clip_range, step, total),
        )

    @property
    def layers(self) -> list[str]:
        """The network's layers that have weights, trunk first."""
        return diagnostics.layer_names(self.model)

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the score was reached that ends the run."""
        return self.iteration >= self.params.num_iterations or self._score_reached()

    def iterations(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Iteration]:
        """Improve the policy until the run is finished, or ``stop`` returns True.

        A stop interrupts a rollout at once and lets an update finish; the state is then that of
        the end of the last iteration. Raises Diverged.
        """
        while not self.workers.any(self.finished or stop()):
            try:
                yield self._iterate(stop)
            except Interrupted:
                return
            except NotFinite as error:
                raise Diverged(self.step, {"observations": error.observations}) from error

    def state(self) -> Checkpoint:
        """Everything needed to resume training, as of the end of the last iteration."""
        episodes = [episode for snapshot in self._unfinished for episode in snapshot]
        arrays = {
            **grouped("weights", self.model.get_weights()),
            **grouped("adam", [variable.numpy() for variable in self.updater.adam.variables()]),
            **grouped("actions", [episode.actions for episode in episodes]),
            "smoothed": self.smoothed,
        }
        facts = TrainerFacts(
            iteration=self.iteration,
            epochs=self.epochs,
            games_played=self.episodes_played,
            best_score=self.best_score,
            recent=tuple(self.recent),
            unfinished=tuple(
                UnfinishedFacts(
                    seeds_used=episode.seeds_used,
                    seed=episode.reset.seed,
                    resets=episode.reset.resets,
                )
                for episode in episodes
            ),
        )
        return Checkpoint(self.step, arrays, facts)

    def restore(
        self, checkpoint: Checkpoint, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Resume from ``state()``: unfinished episodes are replayed up to their last action.

        Raises MisfitError if the checkpoint is of other settings, EpisodeMismatch if an episode
        does not replay as recorded, Interrupted on request.
        """
        self._check_fit(checkpoint)
        facts = checkpoint.trainer
        self.model.set_weights(checkpoint.group("weights"))
        adam = zip(self.updater.adam.variables(), checkpoint.group("adam"), strict=True)
        for variable, array in adam:
            variable.assign(array)
        self.smoothed = checkpoint.arrays["smoothed"]
        self.iteration, self.epochs = facts.iteration, facts.epochs
        self.episodes_played, self.best_score = facts.games_played, facts.best_score
        self.recent.extend(facts.recent)
        episodes = [
            UnfinishedEpisode(of.seeds_used, Reset(of.seed, of.resets), actions)
            for of, actions in zip(facts.unfinished, checkpoint.group("actions"), strict=True)
        ]
        for vector in self.vectors:
            vector.restore(episodes[vector.columns], interrupted)
        self._unfinished = self._snapshots()

    def totals(self) -> dict[str, float]:
        """Scalars of the whole run so far, not averaged over updates."""
        totals: dict[str, float] = {
            "rollout/games": self.episodes_played,
            "time/frames": self.step * self.rules.frames_per_step,
            "train/n_updates": self.epochs,
        }
        if self.best_score is not None:
            totals["rollout/ep_rew_best"] = self.best_score
            totals["rollout/ep_rew_mean"] = self._recent_mean()
            totals["rollout/ep_len_mean"] = float(np.mean([steps for _, steps in self.recent]))
        return totals

    def close(self) -> None:
        """Free the emulators."""
        for vector in self.vectors:
            vector.close()

    def _check_fit(self, checkpoint: Checkpoint) -> None:
        """Raise MisfitError unless every array has the shape of the one it restores."""
        state = self.state()
        for name in ("weights", "adam"):
            theirs, ours = ([a.shape for a in of.group(name)] for of in (checkpoint, state))
            if theirs != ours:
                raise MisfitError(checkpoint.step, f"its {name} are {theirs}, the run's {ours}")
        counts = {
            "unfinished games": (len(checkpoint.trainer.unfinished), self.params.num_envs),
            "lists of actions": (len(checkpoint.group("actions")), self.params.num_envs),
            "step": (checkpoint.step, checkpoint.trainer.iteration * self.params.batch_size),
        }
        for name, (its, wanted) in counts.items():
            if its != wanted:
                raise MisfitError(checkpoint.step, f"{name}: {its} in place of {wanted}")
        if getattr(checkpoint.arrays.get("smoothed"), "shape", None) != (2,):
            raise MisfitError(checkpoint.step, "it lacks the state of the value rescaling")

    def _iterate(self, stop: Callable[[], bool]) -> Iteration:
        p, step, began = self.params, self.step, time.perf_counter()
        rollout = self.collector.collect(self.iteration, stop)
        advantages, returns = gae(
            rollout.rewards,
            rollout.values,
            rollout.next_values,
            rollout.episode_over,
            p.gamma,
            p.gae_lambda,
        )
        batch = flattened(
            rollout.observations,
            rollout.actions,
            rollout.log_probs,
            rollout.values,
            advantages,
            returns,
        )
        rollout_seconds = time.perf_counter() - began
        learning_rate, clip_range = self.scheduled_at(step)
        diagnosed = self._diagnose(batch, clip_range)
        shuffle_key = key(p.seed, Purpose.SHUFFLE, self.iteration)
        began = time.perf_counter()
        result = self.updater.update(batch, shuffle_key, learning_rate, clip_range, self.smoothed)
        if not result.finite:
            raise Diverged(step, {name: t.numpy() for name, t in batch._asdict().items()})
        self.smoothed = result.smoothed
        self._count(rollout.episodes, result.epochs)
        scalars = (
            diagnosed
            | result.scalars()
            | self._action_shares(rollout.actions)
            | {
                "train/learning_rate": learning_rate,
                "train/clip_range": clip_range,
                "train/explained_variance": explained_variance(rollout.values, returns),
                "time/rollout_seconds": rollout_seconds,
                "time/update_seconds": time.perf_counter() - began,
            }
        )
        return Iteration(step, self.step, rollout.episodes, scalars)

    def _count(self, episodes: list[Episode], epochs: int) -> None:
        self.iteration += 1
        self.epochs += epochs
        self.episodes_played += len(episodes)
        self.recent.extend((episode.score, episode.steps) for episode in episodes)
        scores = [episode.score for episode in episodes]
        if self.best_score is not None:
            scores.append(self.best_score)
        self.best_score = max(scores, default=None)
        self._unfinished = self._snapshots()

    def _diagnose(self, batch: Batch, clip_range: float) -> dict[str, float]:
        after = self.step + self.params.batch_size
        if not crossed(self.params.diagnostics_interval, self.step, after):
            return {}
        draw = key(self.params.seed, Purpose.DIAGNOSIS, self.iteration)
        return self.diagnostics.measure(batch, draw, clip_range, self.smoothed)

    def _action_shares(self, actions: np.ndarray) -> dict[str, float]:
        shares = np.bincount(actions.ravel(), minlength=self.num_actions) / actions.size
        return {f"actions/share_{action}": float(share) for action, share in enumerate(shares)}

    def _recent_mean(self) -> float:
        """Mean score of the last episodes."""
        return float(np.mean([score for score, _ in self.recent]))

    def _score_reached(self) -> bool:
        target = self.params.stop_at_score
        return (
            target is not None
            and len(self.recent) == RECENT_EPISODES
            and self._recent_mean() >= target
        )

    def _snapshots(self) -> list[list[UnfinishedEpisode]]:
        return [vector.snapshot() for vector in self.vectors]
