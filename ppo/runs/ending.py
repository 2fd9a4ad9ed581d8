"""The end of a run: its result, and the summary that it prints, with folder and next steps."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppo.envs.factories import factory_name
from ppo.system.arguments import run_atari
from ppo.system.streams import counted, duration
from ppo.telemetry.counters import RECENT_EPISODES
from ppo.telemetry.scalars import SCORE


@dataclass(frozen=True)
class Result:
    """What a run reached: its step, the mean score of its last 100 games, the best score of one
    game, and its folder. The scores are None if no game has ended.
    """

    step: int
    score: float | None
    best: float | None
    folder: Path

    @staticmethod
    def from_totals(step: int, totals: Mapping[str, float], folder: Path) -> "Result":
        score, best = map(totals.get, (SCORE, "rollout/ep_rew_best"))
        return Result(step, score, best, folder)


def next_steps(
    folder: Path, env_id: str, resume: str, overrides: Sequence[str] = (), watchable: bool = False
) -> dict[str, str]:
    """Return what a user may do next, by label: lines for a shell, or in Python for a run whose env
    is a function. ``resume`` are the arguments that resume the run, with ``overrides`` if given.
    ``watchable`` is whether the game has an image.
    """
    call = f"{run_atari()} --logdir={shlex.quote(str(folder))}"
    lines = {
        "evaluate": f"{call} --evaluate 30",
        "watch": f"{call} --watch" if watchable else "",
        "board": f"{call} --board",
        "continue": " --set ".join([f"{call} {resume}", *map(shlex.quote, overrides)]),
    }
    if name := factory_name(env_id):
        changes = f"{[*overrides]}, " * bool(overrides)
        lines["evaluate"] = f"ppo.load({str(folder)!r}, env={name}).evaluate(30)"
        lines["continue"] = f"ppo.train.resume({str(folder)!r}, {changes}env={name})"
    return lines


def summary(
    folder: Path,
    totals: Mapping[str, float],
    evaluation: float | None,
    seconds: float,
    more: Mapping[str, str],
    resumed: bool = False,
) -> str:
    """Return lines of a label and its content, with ``more`` at the end. ``totals`` are the run's
    totals. ``evaluation`` is the best mean score of the run's evaluations, if it made any.
    ``resumed`` is whether ``seconds`` may cover several starts.
    """
    score, bests, games = "no game has ended", [], int(totals.get("rollout/games", 0))
    if (mean := totals.get(SCORE)) is not None:
        recent = min(games, RECENT_EPISODES)
        score = f"{mean:.2f}, mean of the last {counted(recent, 'game')}"
    if (best := totals.get("rollout/ep_rew_best")) is not None:
        digits = 0 if best.is_integer() else 2
        bests.append(f"{best:.{digits}f} in one of {counted(games, 'game')}")
    if evaluation is not None:
        bests.append(f"{evaluation:.2f} in an evaluation")
    rows = {
        "score": score,
        "best": "; ".join(bests),
        "time": duration(seconds) + " in all" * resumed,
        "folder": str(folder),
        **more,
    }
    return "\n".join(f"  {label:<10}{content}" for label, content in rows.items() if content)
