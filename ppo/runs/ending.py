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


def in_python(folder: Path, env_id: str, overrides: Sequence[str] = ()) -> dict[str, str]:
    """Return Python lines, by label, for a run whose env is a function; empty for other runs."""
    if not (name := factory_name(env_id)):
        return {}
    changes = f"{[*overrides]}, " * bool(overrides)
    return {
        "evaluate": f"ppo.load({str(folder)!r}, env={name}).evaluate(30)",
        "continue": f"ppo.train.resume({str(folder)!r}, {changes}env={name})",
    }


def command(folder: Path, arguments: str) -> str:
    """Return a command for a run, as a line for a shell."""
    return f"{run_atari()} --logdir={shlex.quote(str(folder))} {arguments}"


def continuation(folder: Path, env_id: str, resume: str) -> str:
    """Return what continues a run: a line for a shell, or in Python if its env is a function."""
    return in_python(folder, env_id).get("continue") or command(folder, resume)


def summary(
    folder: Path,
    totals: Mapping[str, float],
    evaluation: float | None,
    seconds: float,
    watchable: bool,
    resume: str,
    python: Mapping[str, str] = {},
    resumed: bool = False,
) -> str:
    """Return lines of a label and its content. ``totals`` are the run's totals. ``evaluation`` is
    the best mean score of the run's evaluations, if it made any. ``watchable`` is whether the game
    has an image. ``resume`` are the arguments that continue the run. ``python`` are the lines of
    ``in_python``, if the run has them. ``resumed`` is whether ``seconds`` may cover several starts.
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
        "evaluate": command(folder, "--evaluate 30"),
        "watch": command(folder, "--watch") if watchable else "",
        "board": command(folder, "--board"),
        "continue": command(folder, resume),
    }
    rows |= python
    return "\n".join(f"  {label:<10}{content}" for label, content in rows.items() if content)
