"""All workers of a run except the first: what they receive and do. They write nothing."""

import json
from collections.abc import Callable
from pathlib import Path

from ppo import checkpoint
from ppo.envs.foreign import closing
from ppo.errors import EnvironmentFailed, Stopped, WorkersDiffer
from ppo.runs.ending import Result
from ppo.runs.guard import Guard
from ppo.runs.start import Start, is_finished
from ppo.runs.trainer_state import restore
from ppo.settings import ResolvedParams
from ppo.system import numerics
from ppo.system.signals import Interrupted
from ppo.system.streams import say
from ppo.trainer import Trainer
from ppo.workers.interface import Workers


def send_start(workers: Workers, params: ResolvedParams, start: Start) -> None:
    """Send the start of the run to the other workers, and print what differs in their bits."""
    if workers.count == 1:
        return
    facts = {
        "params": params.model_dump(),
        "continued": start.continued,
        "new_games": start.new_games,
    }
    saved = checkpoint.encode(start.checkpoint) if start.checkpoint else b""
    workers.broadcast(json.dumps(facts).encode() + b"\n" + saved)
    ours, *others = _numerics(workers)
    for index, other in enumerate(others, 1):
        for name, here, there in numerics.differences(ours, other):
            say(
                f"{name} is {here} in the first worker and {there} in worker {index}: their "
                "weights may drift apart"
            )


def _numerics(workers: Workers) -> list[dict[str, str]]:
    """Return what affects the bits, for each worker. Every worker calls it after ``broadcast``."""
    return [json.loads(own) for own in workers.all_gather(json.dumps(numerics.facts()).encode())]


def follow(workers: Workers, threads: int, stop: Callable[[], bool], logdir: Path) -> Result:
    """Train as any worker but the first, until the run is finished or a worker was asked to stop.
    Return the result of the run, which is in ``logdir``.

    Raises Stopped, even if an environment fails: the first worker reports that. Raises Diverged,
    Collapsed, WorkerLost, and WorkersDiffer if the first worker's thread count is not ``threads``.
    """
    head, _, content = workers.broadcast(b"").partition(b"\n")
    _numerics(workers)
    facts = json.loads(head)
    params = ResolvedParams(**facts["params"])
    if params.threads != threads:
        raise WorkersDiffer(
            f"worker {workers.index} has {threads} threads, the first worker {params.threads}; "
            "--set threads=N gives all the same"
        )
    try:
        trainer = Trainer(params, workers, stop)
        with closing(trainer):
            _train(trainer, facts, content, stop)
    except Interrupted:  # while games are created or restored
        raise Stopped(f"worker {workers.index}: stopped before anything was done") from None
    if not trainer.finished:
        raise Stopped(f"worker {workers.index}: stopped at step {trainer.step:,}")
    return Result.from_totals(trainer.step, trainer.totals(), logdir)


def _train(trainer: Trainer, facts: dict, content: bytes, stop: Callable[[], bool]) -> None:
    """Train from the checkpoint in ``content``, if there is one."""
    guard = Guard(trainer, trainer.params, lambda _: None)
    try:
        if content:
            saved = checkpoint.decode(content)
            guard.restore(saved)
            restore(trainer, saved, stop, facts["continued"], facts["new_games"])
            guard.measure(stop)
            if is_finished(saved, trainer.params):
                return
        guard.begin()
        for iteration in trainer.iterations(stop):
            guard.see(iteration)
    except EnvironmentFailed as error:  # every worker raises it, and the first reports it
        raise Stopped(f"worker {trainer.workers.index}: stopped, since {error}") from error
