"""The training loop: rollout, advantages, update. It reads and writes no files."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ppo import model
from ppo.advantages import gae
from ppo.envs.episode import Episode
from ppo.envs.fleet import Fleet, Unfinished
from ppo.envs.foreign import closed_if_it_fails
from ppo.errors import Diverged
from ppo.objective import Batch
from ppo.policy import Policy
from ppo.rollout import Collector, Rollout, replace_forced
from ppo.settings import ResolvedParams
from ppo.settings.schedules import crossed, scheduled
from ppo.system.device import has_gpu, shards
from ppo.system.keys import Purpose, key, seed31
from ppo.system.signals import Interrupted
from ppo.telemetry.counters import Tally
from ppo.telemetry.diagnostics import Diagnostics
from ppo.telemetry.rollout_statistics import rollout_scalars
from ppo.telemetry.scalars import POINTS
from ppo.telemetry.update_statistics import UpdateResult
from ppo.update import INITIAL_RESCALING_STATE, Updater
from ppo.workers.interface import Workers
from ppo.workers.messages import (
    Report,
    any_worker,
    broadcast_arrays,
    gather_arrays,
    gather_unfinished,
    merge_reports,
    run_on_all,
)


class LearnerState(NamedTuple):
    """What has been learnt: weights, the optimiser's state, and the rescaling state in a list."""

    weights: list[np.ndarray]
    adam: list[np.ndarray]
    rescaling_state: list[np.ndarray]


@dataclass(frozen=True)
class Iteration:
    """One iteration of all workers: the steps before and after it, the episodes that ended in it,
    the step at which each ended, and the scalars.
    """

    step_before: int
    step: int
    episodes: list[Episode]
    ended_at: list[int]
    scalars: dict[str, float]

    def crossed(self, interval: int) -> bool:
        """Whether the iteration reached a multiple of the interval."""
        return crossed(interval, self.step_before, self.step)


class Trainer:
    """Envs, network and optimiser of a run. With several workers, each has a trainer with its own
    part of the envs. All other state of a trainer is the same in all workers.
    """

    def __init__(
        self,
        params: ResolvedParams,
        workers: Workers | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ):
        """Build envs, network and optimiser. Raises Interrupted, EnvironmentFailed, and ValueError
        for a network that does not fit. Raises WorkerLost, as does every method that exchanges
        data.
        """
        self.params, self.workers = params, workers or Workers()
        # On a CPU, envs and network take turns on all cores. With two vectors a rollout took longer
        # (docs/performance.md).
        self.envs = Fleet(params, 2 if has_gpu() else 1, interrupted, self.workers.index)
        shape, num_actions = self.envs.observation_shape, self.envs.num_actions
        seed = seed31(params.seed, Purpose.NETWORK)
        with closed_if_it_fails(self.envs):
            self.model = model.build_model(shape, num_actions, params, seed)
            if params.is_custom:  # its function may give other weights in each process
                weights = broadcast_arrays(self.workers, self.model.get_weights())
                self.model.set_weights(weights)
            self.policy = Policy(self.model, shards(params.threads))
            self.updater = Updater(self.model, params, shards(params.threads), self.workers)
            self.diagnostics = Diagnostics(self.model, params, shards(params.threads))
            self.collector = Collector(self.envs.vectors, self.policy, params, self.workers.index)
            self.rescaling_state = INITIAL_RESCALING_STATE
            self.step, self.tally = 0, Tally()
            self.unfinished = self.all_unfinished()

    def schedules_at(self, step: int) -> tuple[float, float]:
        """Return learning rate and clip range at a step. The rate includes the cuts by
        rollbacks and by ``learning_rate_kl``.
        """
        p, total = self.params, self.params.end_from(step)
        rate = scheduled(p.learning_rate_schedule, p.learning_rate, step, total)
        clip_range = scheduled(p.clip_range_schedule, p.clip_range, step, total)
        return rate * self.tally.rate_left(p), clip_range

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the score that ends the run was reached."""
        return self.tally.ends_run(self.step, self.params)

    def iterations(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Iteration]:
        """Improve the policy until the run is finished, or ``stop`` returns True in any worker.

        A stop abandons a rollout, but not an update. After it, weights, counters and ``unfinished``
        are from the last complete iteration, while the envs have played on. So continue with a
        new trainer. Raises Diverged and EnvironmentFailed.
        """
        while True:
            ends, seeds = any_worker(
                self.workers, self.finished or stop(), self.envs.seeds_every_episode
            )
            if seeds:
                self.envs.seed_every_episode()
            if ends:
                return
            try:
                yield self._iterate(stop)
            except Interrupted:
                return

    def learner(self) -> LearnerState:
        """Return a copy of what has been learnt."""
        adam = [variable.numpy() for variable in self.updater.adam.variables()]
        return LearnerState(self.model.get_weights(), adam, [self.rescaling_state])

    def restore_learner(self, learner: LearnerState) -> None:
        """Restore what ``learner`` returned. Raises ValueError if it does not fit."""
        self.model.set_weights(learner.weights)
        for variable, array in zip(self.updater.adam.variables(), learner.adam, strict=True):
            variable.assign(array)
        (self.rescaling_state,) = learner.rescaling_state

    def roll_back(self, learner: LearnerState) -> None:
        """Restore what had been learnt, and cut the learning rate. Games and steps continue."""
        self.restore_learner(learner)
        self.tally = self.tally.after_rollback()

    def all_unfinished(self) -> Unfinished:
        """Return the unfinished episodes of all workers. Every worker calls it."""
        return gather_unfinished(self.workers, self.envs.snapshot())

    def new_games(self) -> None:
        """Begin a new game in every env. Every worker calls it."""
        self.envs.begin()
        self.unfinished = self.all_unfinished()

    def totals(self) -> dict[str, float]:
        """Totals and counters, logged as they are, not averaged."""
        return self.tally.scalars() | {"time/frames": self.step * self.envs.rules.frames_per_step}

    def close(self) -> None:
        self.envs.close()

    def _iterate(self, stop: Callable[[], bool]) -> Iteration:
        """Collect a rollout, and improve the policy on it. Raises as ``run_on_all``."""
        began = time.perf_counter()
        collect = self.collector.collect
        rollout = run_on_all(self.workers, self.step, lambda: collect(self.tally.iteration, stop))
        seconds = time.perf_counter() - began
        batch, result, scalars = self._learn(rollout)
        scalars["time/rollout_seconds"] = seconds
        updated = result.scalars() | (result.epoch_scalars() if self.params.log_epochs else {})
        own = Report(rollout.episodes, rollout.end_rows, rollout.points, scalars, updated)
        report = merge_reports(self.workers, own)
        if not report.finite:  # finite rewards may sum to an infinite score, which clipping hides
            raise self._diverged(batch)
        return self._advance(report, len(result.epochs))

    def _learn(self, rollout: Rollout) -> tuple[Batch, UpdateResult, dict[str, float]]:
        """Estimate advantages, and update the policy. Return the batch, the result of the update,
        and other scalars. Raises Diverged.
        """
        p, step, state = self.params, self.step, self.rescaling_state
        scalars: dict[str, float] = {}
        advantages, returns = gae(
            rollout.rewards,
            rollout.values,
            rollout.next_values,
            rollout.episode_over,
            p.gamma,
            p.gae_lambda,
        )
        replace_forced(rollout, advantages, returns)
        batch = Batch.from_rollout(*rollout.samples, advantages, returns)
        learning_rate, clip_range = self.schedules_at(step)
        if diagnoses := crossed(p.diagnostics_interval, step, step + p.steps_per_iteration):
            sample_key = self._key(Purpose.DIAGNOSIS)
            scalars |= self.diagnostics.measure(batch, sample_key, clip_range, state)
            old_log_policy = self.diagnostics.log_policy(batch.observations)
        began, order_key = time.perf_counter(), self._key(Purpose.SHUFFLE)
        result = self.updater.update(batch, order_key, learning_rate, clip_range, state)
        scalars["time/update_seconds"] = time.perf_counter() - began
        if not result.finite:
            raise self._diverged(batch)
        self.rescaling_state = result.rescaling_state
        if diagnoses:
            kl = self.diagnostics.update_kl(old_log_policy, batch.observations)
            scalars["train/update_kl"] = kl
        scalars |= rollout_scalars(
            rollout.actions, rollout.values, advantages, returns, self.envs.action_names, p
        )
        return batch, result, scalars

    def _advance(self, report: Report, epochs: int) -> Iteration:
        """Count the steps and episodes of an iteration, and return it with its scalars."""
        p, step = self.params, self.step
        learning_rate, clip_range = self.schedules_at(step)  # before the counts change them
        self.step += p.steps_per_iteration
        self.tally = self.tally.after(epochs, report.episodes)
        self.unfinished = self.all_unfinished()
        scalars = report.scalars | report.updated
        if p.learning_rate_kl:
            self.tally = self.tally.after_kl(scalars["train/approx_kl"], p.learning_rate_kl)
        scalars |= {
            POINTS: report.points / p.steps_per_iteration,
            "train/learning_rate": learning_rate,
            "train/clip_range": clip_range,
        }
        ended_at = [step + (row + 1) * p.num_envs * p.workers for row in report.end_rows]
        return Iteration(step, self.step, report.episodes, ended_at, scalars)

    def _key(self, purpose: Purpose) -> np.ndarray:
        # The first worker has index 0, as a single worker has, so both sample the same.
        return key(self.params.seed, purpose, self.tally.iteration, self.workers.index)

    def _diverged(self, batch: Batch) -> Diverged:
        """Return the error that ends the run. All workers call it."""
        arrays = {name: tensor.numpy() for name, tensor in batch._asdict().items()}
        return Diverged(self.step, gather_arrays(self.workers, arrays))
