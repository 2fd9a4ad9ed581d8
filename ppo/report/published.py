"""Learning curves of PPO that other packages have published, for comparison.

``ppo/presets/published.jsonl`` holds them as facts: NoFrameskip-v4 games, four frames a step, no
sticky actions. Each point is the mean over a fortieth of the published curve.
"""

import numpy as np
from pydantic import BaseModel, TypeAdapter

from ppo.envs import registry
from ppo.presets import FOLDER
from ppo.settings import Params
from ppo.system import reading

CURVES = FOLDER / "published.jsonl"


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


def comparable(params: Params) -> list[Published]:
    """Return the published curves of a run's game; none if the run plays by other rules."""
    try:
        game, stickiness = registry.resolve(params.env_id)
    except registry.UnknownGame:  # whose package is missing here
        return []
    if params.sticky_action_probability is not None:
        stickiness = params.sticky_action_probability
    if stickiness or params.frame_skip != 4 or params.full_action_space:
        return []
    found, _ = reading.lines(CURVES, TypeAdapter(Published))
    return [one for one in found if one.game == game]
