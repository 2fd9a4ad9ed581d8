"""The order of things: rollout, advantages, update, again and again. No file, no clock face."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppo import diagnostics, glossary, model
from ppo.advantages import explained_variance, gae
from ppo.checkpoint import Checkpoint, check_fit, grouped
from ppo.games import Beginning, Game, Rules, Unfinished, vectors
from ppo.keys import Purpose, key, seed31
from ppo.objective import Batch
from ppo.params import Params, Schedule
from ppo.rollout import Collector, NotFinite
from ppo.signals import Interrupted
from ppo.startup import has_gpu, shards
from ppo.update import Updater, flattened

RECENT_GAMES = 100


class Diverged(Exception):
    """A loss or a gradient was not finite; it was not applied. ``batch`` is what led to it."""

    def __init__(self, step: int, batch: dict[str, np.ndarray]):
        self.step, self.batch = step, batch
        super().__init__(
            f"a number was not finite after step {step}; nothing of it was applied. Lower "
            "learning_rate, or look for rewards or observations that are not finite"
        )


@dataclass(frozen=True)
class Iteration:
    """What one iteration, up to ``step``, brought: games that ended, and its scalars."""

    step: int
    games: list[Game]
    scalars: dict[str, float]


def scheduled(schedule: Schedule, initial: float, step: int, total_steps: int) -> float:
    """A learning rate or clip range at a step: a pure function of it and of the total.

    "linear": initial (1 - step / total_steps), never below 0. "constant": initial.
    """
    return initial if schedule == "constant" else initial * max(0.0, 1.0 - step / total_steps)


def crossed(interval: int, before: int, after: int) -> bool:
    """Whether a multiple of the interval lies in (before, after]; 0 has none."""
    return interval > 0 and after // interval > before // interval


class Learner:
    """Games, network and optimiser of a run. ``params`` must be resolved (seed and threads)."""

    def __init__(self, params: Params):
        assert params.seed is not None and params.threads is not None
        self.params, self.seed = params, params.seed
        self.rules = Rules.of(params)
        # On a CPU games and network take all cores in turn: side by side they were slower.
        self.vectors = vectors(
            params, self.rules, params.seed, params.threads, count=2 if has_gpu() else 1
        )
        self.model = model.of_settings(
            self.vectors[0].observations.shape[1:],
            self.vectors[0].num_actions,
            params,
            seed31(params.seed, Purpose.NETWORK),
        )
        self.num_actions = self.vectors[0].num_actions
        self.act = model.sampler(self.model, shards(params.threads))
        self.updater = Updater(self.model, params, shards(params.threads))
        self.diagnostics = diagnostics.Diagnostics(self.model, params)
        self.collector = Collector(
            self.vectors,
            self.act,
            model.valuer(self.model),
            params.num_steps,
            params.clip_rewards,
            params.terminal_on_life_loss,
            params.seed,
        )
        self.smoothed = np.zeros(2, np.float32)
        self.iteration = self.games_played = self.epochs = 0
        self.best_score: float | None = None
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT_GAMES)
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
    def tags(self) -> list[str]:
        """The names of all scalars that this run can have."""
        layers = diagnostics.layer_names(self.model)
        return glossary.tags(self.params.num_epochs, layers, self.num_actions)

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the score was reached that ends the run."""
        return self.iteration >= self.params.num_iterations or self._score_reached()

    def iterations(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Iteration]:
        """Improve the policy until the run is finished, or ``stop`` says so.

        A rollout is broken off at once, an update finished first; the state afterwards is that
        of the last iteration's end. Raises Diverged.
        """
        while not self.finished and not stop():
            try:
                yield self._iterate(stop)
            except Interrupted:
                return
            except NotFinite as error:
                raise Diverged(self.step, {"observations": error.observations}) from error

    def state(self) -> Checkpoint:
        """Everything that the run goes on from, at the end of the last iteration."""
        games = [game for snapshot in self._unfinished for game in snapshot]
        arrays = {
            **grouped("weights", self.model.get_weights()),
            **grouped("adam", [variable.numpy() for variable in self.updater.adam.variables()]),
            **grouped("actions", [game.actions for game in games]),
            "smoothed": self.smoothed,
        }
        facts = {
            "iteration": self.iteration,
            "epochs": self.epochs,
            "games_played": self.games_played,
            "best_score": self.best_score,
            "recent": list(self.recent),
            "unfinished": [
                [game.seeds_used, game.beginning.seed, game.beginning.resets] for game in games
            ],
        }
        return Checkpoint(self.step, arrays, facts)

    def restore(
        self, checkpoint: Checkpoint, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Go on from ``state()``: unfinished games are played again to where they stood.

        Raises MisfitError if the checkpoint is of another network, Interrupted on request.
        """
        weights = checkpoint.group("weights")
        check_fit(weights, self.model.get_weights())
        self.model.set_weights(weights)
        adam = zip(self.updater.adam.variables(), checkpoint.group("adam"), strict=True)
        for variable, array in adam:
            variable.assign(array)
        self.smoothed = checkpoint.arrays["smoothed"]
        facts: dict[str, Any] = checkpoint.facts
        self.iteration, self.epochs = facts["iteration"], facts["epochs"]
        self.games_played, self.best_score = facts["games_played"], facts["best_score"]
        self.recent.extend((score, steps) for score, steps in facts["recent"])
        games = [
            Unfinished(used, Beginning(seed, resets), actions)
            for (used, seed, resets), actions in zip(
                facts["unfinished"], checkpoint.group("actions"), strict=True
            )
        ]
        for vector in self.vectors:
            vector.restore(games[vector.places.start : vector.places.stop], interrupted)
        self._unfinished = self._snapshots()

    def close(self) -> None:
        """Free the emulators."""
        for vector in self.vectors:
            vector.close()

    def _iterate(self, stop: Callable[[], bool]) -> Iteration:
        p, began = self.params, time.perf_counter()
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
        learning_rate, clip_range = self.scheduled_at(self.step)
        looked = self._look(batch, clip_range)
        shuffle_key = key(self.seed, Purpose.SHUFFLE, self.iteration)
        began = time.perf_counter()
        result = self.updater.update(batch, shuffle_key, learning_rate, clip_range, self.smoothed)
        if not result.finite:
            raise Diverged(
                self.step, {name: tensor.numpy() for name, tensor in vars(batch).items()}
            )
        self.smoothed = result.smoothed
        self._count(rollout.games, result.epochs)
        scalars = (
            looked
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
        return Iteration(self.step, rollout.games, scalars)

    def totals(self) -> dict[str, float]:
        """Scalars that are no means over the last updates, but say how the run stands."""
        totals: dict[str, float] = {
            "rollout/games": self.games_played,
            "time/frames": self.step * (self.rules.frame_skip if self.rules.is_atari else 1),
            "train/n_updates": self.epochs,
        }
        if self.best_score is not None:
            totals["rollout/ep_rew_best"] = self.best_score
            totals["rollout/ep_rew_mean"] = self._recent_mean()
            totals["rollout/ep_len_mean"] = float(np.mean([steps for _, steps in self.recent]))
        return totals

    def _count(self, games: list[Game], epochs: int) -> None:
        self.iteration += 1
        self.epochs += epochs
        self.games_played += len(games)
        self.recent.extend((game.score, game.steps) for game in games)
        scores = [game.score for game in games]
        if self.best_score is not None:
            scores.append(self.best_score)
        self.best_score = max(scores, default=None)
        self._unfinished = self._snapshots()

    def _look(self, batch: Batch, clip_range: float) -> dict[str, float]:
        after = self.step + self.params.batch_size
        if not crossed(self.params.diagnostics_interval, self.step, after):
            return {}
        draw = key(self.seed, Purpose.DIAGNOSIS, self.iteration)
        return self.diagnostics.measure(batch, draw, clip_range, self.smoothed)

    def _action_shares(self, actions: np.ndarray) -> dict[str, float]:
        shares = np.bincount(actions.ravel(), minlength=self.num_actions) / actions.size
        return {f"actions/share_{action}": float(share) for action, share in enumerate(shares)}

    def _recent_mean(self) -> float:
        """Mean score of the last games."""
        return float(np.mean([score for score, _ in self.recent]))

    def _score_reached(self) -> bool:
        target = self.params.stop_at_score
        return (
            target is not None
            and len(self.recent) == RECENT_GAMES
            and self._recent_mean() >= target
        )

    def _snapshots(self) -> list[list[Unfinished]]:
        return [vector.snapshot() for vector in self.vectors]
