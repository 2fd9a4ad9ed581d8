"""The summary that a run prints when it ends: result, folder and next steps."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from ppo.telemetry.counters import RECENT_EPISODES


def block(
    folder: Path,
    totals: Mapping[str, float],
    evaluation: float | None,
    seconds: float,
    watchable: bool,
    more: str,
) -> str:
    """Return lines of a label and its content. ``totals`` are the run's totals. ``evaluation`` is
    the best mean score of the run's evaluations, if it made any. ``watchable`` is whether the game
    has an image. ``more`` is the override that continues the run.
    """
    command = f"python run_atari.py --logdir={shlex.quote(str(folder))}"
    rows = [
        ("score", _score(totals)),
        ("best", _best(totals, evaluation)),
        ("time", f"{seconds / 60:,.1f} minutes"),
        ("folder", str(folder)),
        ("evaluate", f"{command} --evaluate 30"),
        ("watch", f"{command} --watch" if watchable else ""),
        ("board", f"{command} --board"),
        ("continue", f"{command} --resume --set {more}"),
    ]
    return "\n".join(f"  {label:<10}{content}" for label, content in rows if content)


def _score(totals: Mapping[str, float]) -> str:
    if "rollout/ep_rew_mean" not in totals:
        return "no game has ended"
    games = min(int(totals["rollout/games"]), RECENT_EPISODES)
    return f"{totals['rollout/ep_rew_mean']:.2f}, mean of the last {games} games"


def _best(totals: Mapping[str, float], evaluation: float | None) -> str:
    parts = []
    if "rollout/ep_rew_best" in totals:
        games = int(totals["rollout/games"])
        parts.append(f"{totals['rollout/ep_rew_best']:.10g} in one of {games:,} games")
    if evaluation is not None:
        parts.append(f"{evaluation:.2f} in an evaluation")
    return "; ".join(parts)
