r"""Who makes the first point? What a trained agent's games begin with.

    python -m benchmarks.first_points --logdir=RUN --games=24 --steps=120

Plays the beginnings of evaluation games with the newest checkpoint's sampled policy and prints, as
a JSON line, how many have a first reward above 0 and below 0, and in how many none came. A run sees
few openings among its steps, so that a policy may be good at everything but them.
"""

import argparse
import json
from typing import TYPE_CHECKING

import numpy as np

from ppo.files.folder import RunFolder
from ppo.process.arguments import expanded

if TYPE_CHECKING:
    from ppo.play.agent import TrainedAgent


def first_rewards(agent: "TrainedAgent", num_games: int, num_steps: int) -> np.ndarray:
    """The first reward of each game within its first steps, 0 where there is none, [num_games]."""
    from ppo.play.evaluate import act_once, envs_of

    vector = envs_of(agent.params, num_games)
    vector.begin()
    first = np.zeros(num_games, np.float32)
    for count in range(num_steps):
        transition = act_once(agent.policy, vector, agent.params, agent.step, count)
        first = np.where(first == 0, transition.rewards, first)
    vector.close()
    return first


def main() -> None:
    """Play and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logdir", type=expanded, required=True)
    parser.add_argument("--games", type=int, default=24)
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    from ppo.play.agent import load_agent

    agent = load_agent(RunFolder(options.logdir))
    first = first_rewards(agent, options.games, options.steps)
    counts = {"won": int((first > 0).sum()), "lost": int((first < 0).sum())}
    print(json.dumps({"step": agent.step} | counts | {"open": int((first == 0).sum())}))


if __name__ == "__main__":
    main()
