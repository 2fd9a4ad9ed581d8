"""The training loop: rollout, advantages, update. It reads and writes no files."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ppo import model
from ppo.advantages import explained_variance, gae
from ppo.checkpoint import Checkpoint, MisfitError, TrainerFacts, UnfinishedFacts, grouped
from ppo.diagnostics import Diagnostics
from ppo.distribution import OneWorker, Workers
from ppo.envs.episode import Episode, EpisodeMismatch, Reset, UnfinishedEpisode
from ppo.envs.fleet import Fleet
from ppo.errors import Diverged, EnvironmentFailed, NotFinite
from ppo.exchange import Games, Report, share_arrays, share_games, share_report
from ppo.objective import Batch
from ppo.policy import Policy
from ppo.process.device import has_gpu, shards
from ppo.process.keys import Purpose, key, seed31
from ppo.process.signals import Interrupted
from ppo.rollout import Collector, Rollout
from ppo.schedules import crossed, scheduled
from ppo.settings import ResolvedParams
from ppo.tally import Tally
from ppo.update import INITIAL_RESCALING_STATE, Updater, flattened

MOST_RESETS = 1000  # since a seed; more than any run makes
POINTS = "rollout/points_per_step"
# How a worker's rollout ended, as it reports to the others; after _FAILED follow the words.
_PLAYED, _INTERRUPTED, _NOT_FINITE, _FAILED = b"", b"interrupted", b"not finite", b"failed: "


class Learner(NamedTuple):
    """What learns: the network's weights, the optimiser's state, and that of the value rescaling,
    the only one of its list.
    """

    weights: list[np.ndarray]
    adam: list[np.ndarray]
    smoothed: list[np.ndarray]


@dataclass(frozen=True)
class Iteration:
    """One iteration of all workers: the steps before and after it, the episodes that ended in it,
    the run's step at the end of each of them, and its scalars.
    """

    step_before: int
    step: int
    episodes: list[Episode]
    ended_at: list[int]
    scalars: dict[str, float]

    def crossed(self, interval: int) -> bool:
        """Whether it reached a multiple of the interval."""
        return crossed(interval, self.step_before, self.step)


class Trainer:
    """Envs, network and optimiser of a run. With several workers, each has a trainer with its own
    part of the envs; everything else that a trainer knows is the same in all of them.
    """

    def __init__(
        self,
        params: ResolvedParams,
        workers: Workers | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ):
        """Raises Interrupted on request, while the emulators are built, and WorkerLost, as
        everything does in which all workers take part.
        """
        self.params, self.workers = params, workers or OneWorker()
        # On a CPU envs and network take all cores in turn: side by side they were slower.
        self.envs = Fleet(params, 2 if has_gpu() else 1, interrupted, self.workers.index)
        self.model = model.of_settings(
            self.envs.observation_shape,
            self.envs.num_actions,
            params,
            seed31(params.seed, Purpose.NETWORK),
        )
        self.policy = Policy(self.model, shards(params.threads))
        self.updater = Updater(self.model, params, shards(params.threads), self.workers)
        self.diagnostics = Diagnostics(self.model, params, shards(params.threads))
        self.collector = Collector(self.envs.vectors, self.policy, params, self.workers.index)
        self.smoothed = INITIAL_RESCALING_STATE
        self.tally = Tally()
        self.games = self._all_games()

    @property
    def step(self) -> int:
        """Steps so far."""
        return self.tally.step

    @property
    def rollbacks(self) -> int:
        """Rollbacks so far."""
        return self.tally.rollbacks

    def scheduled_at(self, step: int) -> tuple[float, float]:
        """Learning rate and clip range of the update that follows the rollout begun at a step; each
        rollback has cut the rate.
        """
        p, total = self.params, self.params.whole_steps
        rate = scheduled(p.learning_rate_schedule, p.learning_rate, step, total)
        return (
            rate * self.tally.rate_share,
            scheduled(p.clip_range_schedule, p.clip_range, step, total),
        )

    @property
    def layers(self) -> list[str]:
        """The network's layers that have weights, trunk first."""
        return list(self.updater.layers)

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or the score was reached that ends the run."""
        done = self.step >= self.params.whole_steps
        return done or self.tally.reached(self.params.stop_at_score)

    def iterations(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Iteration]:
        """Improve the policy until the run is finished, or ``stop`` returns True in any worker.

        A stop interrupts a rollout at once and an update after its end; the state is then that of
        the last iteration's end. Raises Diverged.
        """
        while self._goes_on(stop):
            try:
                yield self._iterate(stop)
            except Interrupted:
                return

    def learner(self) -> Learner:
        """A copy of what has been learnt."""
        adam = [variable.numpy() for variable in self.updater.adam.variables()]
        return Learner(self.model.get_weights(), adam, [self.smoothed])

    def roll_back(self, learner: Learner) -> None:
        """Put back what had been learnt, and cut the learning rate from now on. Steps, games
        and random numbers continue.
        """
        self._learn_from(learner)
        self.tally.roll_back()

    def state(self) -> Checkpoint:
        """The state from which training resumes, at the end of the last iteration."""
        learner = self.learner()
        arrays = {
            **grouped("weights", learner.weights),
            **grouped("adam", learner.adam),
            **grouped("actions", [episode.actions for episode in self.games.unfinished]),
            "smoothed": self.smoothed,
        }
        facts = TrainerFacts(
            **self.tally.facts(),
            seed_every_episode=self.envs.seeds_every_episode,
            observations=self.games.shown,
            unfinished=tuple(map(_facts_of, self.games.unfinished)),
        )
        return Checkpoint(self.step, arrays, facts)

    def restore(
        self, checkpoint: Checkpoint, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Resume from ``state()``: unfinished episodes are replayed up to their last action.

        Raises MisfitError if the checkpoint is of other settings, EpisodeMismatch if an episode
        does not replay as recorded, Interrupted on request.
        """
        episodes = len(checkpoint.trainer.unfinished)
        envs = self.params.num_envs * self.params.workers
        if episodes != envs:
            raise MisfitError(checkpoint.step, f"{episodes} unfinished games for {envs} envs")
        self.fork(checkpoint, True, interrupted)

    def fork(
        self,
        checkpoint: Checkpoint,
        same_rules: bool,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin with the state of a run whose settings may have been others.

        Of its unfinished episodes as many continue as there are envs; further envs begin new ones,
        and so do all of them unless the games have the ``same_rules``. Raises as ``restore``.
        """
        self._check_fit(checkpoint)
        smoothed = [checkpoint.arrays["smoothed"]]
        self._learn_from(Learner(checkpoint.group("weights"), checkpoint.group("adam"), smoothed))
        self.tally.restore(checkpoint)
        facts = checkpoint.trainer
        if facts.seed_every_episode:
            self.envs.seed_every_episode()
        if same_rules:
            episodes = [
                UnfinishedEpisode(of.seeds_used, Reset(of.seed, of.resets), actions)
                for of, actions in zip(facts.unfinished, checkpoint.group("actions"), strict=True)
            ]
            # The checksum of several workers' observations is one of theirs.
            as_many = checkpoint.session.params.get("workers", 1) == self.params.workers
            shown = facts.observations if as_many else None
            self._restore_games(Games(episodes, shown), interrupted)

    def new_games(self) -> None:
        """Abandon the unfinished episodes, and begin new ones."""
        self.envs.begin()
        self.games = self._all_games()

    def totals(self) -> dict[str, float]:
        """Scalars that are no means over the last updates, but say how the run stands."""
        return self.tally.scalars() | {"time/frames": self.step * self.envs.rules.frames_per_step}

    def close(self) -> None:
        """Free the emulators."""
        self.envs.close()

    def _learn_from(self, learner: Learner) -> None:
        self.model.set_weights(learner.weights)
        for variable, array in zip(self.updater.adam.variables(), learner.adam, strict=True):
            variable.assign(array)
        (self.smoothed,) = learner.smoothed

    def _check_fit(self, checkpoint: Checkpoint) -> None:
        """Raise MisfitError unless every array has the shape of the one it restores."""
        state = self.state()
        for name in ("weights", "adam"):
            theirs, ours = ([a.shape for a in of.group(name)] for of in (checkpoint, state))
            if theirs != ours:
                raise MisfitError(checkpoint.step, f"its {name} are {theirs}, the run's {ours}")
        actions, episodes = checkpoint.group("actions"), checkpoint.trainer.unfinished
        if len(actions) != len(episodes):
            reason = f"{len(episodes)} unfinished games, actions of {len(actions)}"
            raise MisfitError(checkpoint.step, reason)
        if any(a.size and not 0 <= a.min() <= a.max() < self.envs.num_actions for a in actions):
            raise MisfitError(checkpoint.step, "an action that the game does not have")
        if any(episode.resets > MOST_RESETS for episode in episodes):
            raise MisfitError(checkpoint.step, f"more than {MOST_RESETS} resets since a seed")
        if getattr(checkpoint.arrays.get("smoothed"), "shape", None) != (2,):
            raise MisfitError(checkpoint.step, "it lacks the state of the value rescaling")

    def _restore_games(self, saved: Games, interrupted: Callable[[], bool]) -> None:
        """Each worker plays its own; if one of them does not go as it went, all raise."""
        first = self.workers.index * self.params.num_envs
        outcome, failure = _PLAYED, None
        try:
            self.envs.restore(saved.unfinished[first : first + self.params.num_envs], interrupted)
        except EpisodeMismatch as error:
            outcome = str(error).encode()
        except EnvironmentFailed as error:
            failure, outcome = error, _outcome_of(error)
        outcomes = self.workers.gather(outcome)
        self._raise_failure(outcomes, failure)
        if mismatches := [one.decode() for one in outcomes if one]:
            raise EpisodeMismatch(mismatches[0])
        whole = len(saved.unfinished) == len(self.games.unfinished)
        self.games = self._all_games()
        if whole and saved.shown not in (None, self.games.shown):
            raise EpisodeMismatch(
                f"the unfinished games of {self.envs.rules.game} do not show what they showed "
                "before"
            )

    def _all_games(self) -> Games:
        return share_games(self.workers, Games(self.envs.unfinished, self.envs.shown))

    def _goes_on(self, stop: Callable[[], bool]) -> bool:
        """Whether there is a next iteration; what one worker asks for holds for all."""
        own = self.finished or stop(), self.envs.seeds_every_episode
        ends, seeds = (any(flags) for flags in zip(*self.workers.gather(bytes(own)), strict=True))
        if seeds and not self.envs.seeds_every_episode:
            self.envs.seed_every_episode()
        return not ends

    def _rollout(self, stop: Callable[[], bool]) -> Rollout:
        """Collect a rollout. If it fails on one worker, every worker raises: Interrupted, Diverged
        or EnvironmentFailed.
        """
        rollout, unfit, outcome, failure = None, {}, _PLAYED, None
        try:
            rollout = self.collector.collect(self.tally.iteration, stop)
        except Interrupted:
            outcome = _INTERRUPTED
        except NotFinite as error:
            unfit, outcome = {"observations": error.observations}, _NOT_FINITE
        except EnvironmentFailed as error:
            failure, outcome = error, _outcome_of(error)
        outcomes = self.workers.gather(outcome)
        if _NOT_FINITE in outcomes:
            raise Diverged(self.step, share_arrays(self.workers, unfit))
        self._raise_failure(outcomes, failure)
        if rollout is None or _INTERRUPTED in outcomes:
            raise Interrupted
        return rollout

    def _raise_failure(self, outcomes: list[bytes], own: EnvironmentFailed | None) -> None:
        """Raise EnvironmentFailed if an environment failed on any worker."""
        for worker, outcome in enumerate(outcomes):
            if outcome.startswith(_FAILED):
                words = outcome.removeprefix(_FAILED).decode()
                where = f"worker {worker}: " if self.workers.count > 1 else ""
                raise EnvironmentFailed(f"{where}{words}") from own

    def _iterate(self, stop: Callable[[], bool]) -> Iteration:
        p, step, began = self.params, self.step, time.perf_counter()
        rollout = self._rollout(stop)
        batch, advantages, returns = batch_of(rollout, p)
        rollout_seconds = time.perf_counter() - began
        learning_rate, clip_range = self.scheduled_at(step)
        diagnosed = self._diagnose(batch, clip_range)
        # The number of the first worker, 0, leaves a key of so few counters as it is.
        worker = self.workers.index
        shuffle_key = key(p.seed, Purpose.SHUFFLE, self.tally.iteration, worker)
        began = time.perf_counter()
        result = self.updater.update(batch, shuffle_key, learning_rate, clip_range, self.smoothed)
        if not result.finite:
            raise self._diverged(batch)
        self.smoothed = result.rescaling
        own = (
            diagnosed
            | _advantage_scalars(advantages, p)
            | self._action_shares(rollout.actions)
            | {
                "train/explained_variance": explained_variance(rollout.values, returns),
                "time/rollout_seconds": rollout_seconds,
                "time/update_seconds": time.perf_counter() - began,
            }
        )
        report = share_report(
            self.workers,
            Report(rollout.episodes, rollout.ended_in, rollout.points, own, result.maxima),
        )
        if not report.finite:  # clipped rewards hide that from the update
            raise self._diverged(batch)
        self.tally.count(p.steps_per_iteration, len(result.epochs), report.episodes)
        self.envs.note()
        self.games = self._all_games()
        result = result.with_maxima(report.maxima)
        scalars = (
            report.scalars
            | result.scalars()
            | (result.epoch_scalars() if p.log_epochs else {})
            | {
                POINTS: report.points / p.steps_per_iteration,
                "train/learning_rate": learning_rate,
                "train/clip_range": clip_range,
            }
        )
        ended_at = [step + (t + 1) * p.num_envs * p.workers for t in report.ended_in]
        return Iteration(step, self.step, report.episodes, ended_at, scalars)

    def _diverged(self, batch: Batch) -> Diverged:
        """Return the end of the run. All workers call it."""
        unfit = {name: t.numpy() for name, t in batch._asdict().items()}
        return Diverged(self.step, share_arrays(self.workers, unfit))

    def _diagnose(self, batch: Batch, clip_range: float) -> dict[str, float]:
        after = self.step + self.params.steps_per_iteration
        if not crossed(self.params.diagnostics_interval, self.step, after):
            return {}
        worker = self.workers.index
        draw = key(self.params.seed, Purpose.DIAGNOSIS, self.tally.iteration, worker)
        return self.diagnostics.measure(batch, draw, clip_range, self.smoothed)

    def _action_shares(self, actions: np.ndarray) -> dict[str, float]:
        shares = np.bincount(actions.ravel(), minlength=self.envs.num_actions) / actions.size
        names = self.envs.action_names
        return {
            f"actions/share_{name}": float(share) for name, share in zip(names, shares, strict=True)
        }


def batch_of(rollout: Rollout, params: ResolvedParams) -> tuple[Batch, np.ndarray, np.ndarray]:
    """What the update learns from, and its advantages and returns, both [T, N]. In the rollout,
    too, the samples of forced steps are replaced by their stand-ins.
    """
    advantages, returns = gae(
        rollout.rewards,
        rollout.values,
        rollout.next_values,
        rollout.episode_over,
        params.gamma,
        params.gae_lambda,
    )
    arrays = (
        rollout.observations,
        rollout.actions,
        rollout.log_probs,
        rollout.values,
        advantages,
        returns,
    )
    forced = np.flatnonzero(rollout.forced)
    for array in arrays if len(forced) else ():
        samples = array.reshape(-1, *array.shape[2:])
        samples[forced] = samples[rollout.stand_ins]
    return flattened(*arrays), advantages, returns


def _advantage_scalars(advantages: np.ndarray, params: ResolvedParams) -> dict[str, float]:
    """Their standard deviation over the rollout, and what normalising multiplies them by."""
    # Of equal advantages the mean, and so the deviation, may be off by a rounding error.
    std = float(advantages.std()) if advantages.min() < advantages.max() else 0.0
    divisor = max(std, params.advantage_std_floor) if params.normalize_advantages else 0.0
    scale = 1 / divisor if divisor else math.nan
    return {"train/advantage_std": std, "train/advantage_scale": scale}


def _outcome_of(failure: EnvironmentFailed) -> bytes:
    return _FAILED + str(failure).encode(errors="replace")


def _facts_of(episode: UnfinishedEpisode) -> UnfinishedFacts:
    reset = episode.reset
    return UnfinishedFacts(seeds_used=episode.seeds_used, seed=reset.seed, resets=reset.resets)
