"""Learning curves of PPO that other packages have published, for comparison.

``ppo/presets/published.jsonl`` holds them as facts: NoFrameskip-v4 games, four frames a step, no
sticky actions. Each point is the mean over a fortieth of the published curve.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import BaseModel, TypeAdapter

from ppo.envs import registry
from ppo.presets import FOLDER
from ppo.settings import Params
from ppo.system import reading
from ppo.telemetry import figures

CURVES = FOLDER / "published.jsonl"
# A package has the same dashes in every figure.
DASHES = {"baselines ppo2": "-", "Tianshou": "--", "Stable-Baselines3": ":"}


class Published(BaseModel):
    """A learning curve: the score at several steps, and where it was published."""

    game: str
    package: str
    source: str
    what: str
    curve: list[tuple[int, float]]

    def score_at(self, step: float) -> float:
        """Return the score at a step, linear between the points; NaN outside the curve."""
        steps, scores = np.array(self.curve, float).T
        return float(np.interp(step, steps, scores, np.nan, np.nan))


def curves(game: str | None) -> list[Published]:
    """Return the published curves of a ROM."""
    published = reading.all_lines(CURVES, TypeAdapter(Published))
    return [one for one in published if one.game == game]


def plot(axes: Any, published: Iterable[Published], last: float) -> list[figures.End]:
    """Plot published curves up to a step, in gray. Return their ends."""
    ends = []
    for one in published:
        dashes = DASHES.get(one.package, "-.")
        near = np.array([point for point in one.curve if point[0] < last], float)
        if len(near) and not np.isnan(score := one.score_at(last)):
            near = np.vstack([near, (last, score)])
        if len(near) > 1:
            axes.plot(*near.T, dashes, color=figures.GRAY, linewidth=1.4)
            ends.append(figures.End(one.package, near[-1, 0], near[-1, 1], figures.GRAY))
    return ends


def comparable(params: Params) -> list[Published]:
    """Return the published curves of a run's game; none if the run plays by other rules."""
    try:
        game, stickiness = registry.look_up(params.env_id)
    except registry.UnknownGame:  # whose package is missing here
        return []
    if params.sticky_action_probability is not None:
        stickiness = params.sticky_action_probability
    if stickiness or params.frame_skip != 4 or params.full_action_space:
        return []
    return curves(game)
