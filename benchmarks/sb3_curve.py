"""Stable-Baselines3's learning curve with the settings that rl-zoo3 publishes for Atari games.

    .venv-sb3/bin/python benchmarks/sb3_curve.py --steps=1000000 --seed=1

Prints a JSON line every 10,000 steps or so: steps, seconds, games, the mean score of the last 100
games; at the end, the scores of whole games of the sampled policy. The settings are those of
rl-zoo3 2.9.2 (hyperparams/ppo.yml, atari): learning rate and clip range fall over the 10,000,000
steps that it names; this script stops earlier. Runs with an interpreter of its own, which has
benchmarks/requirements-sb3.txt.
"""

import argparse
import json
import statistics
import time

import ale_py
import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecFrameStack

gymnasium.register_envs(ale_py)

PUBLISHED_STEPS = 10_000_000
POINT_STEPS = 10_240


class Curve(BaseCallback):
    """Prints the score as it learns, and ends the learning at a step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.games, self.began = steps, 0, time.monotonic()

    def _on_step(self) -> bool:
        self.games += sum("episode" in info for info in self.locals["infos"])
        recent = self.model.ep_info_buffer
        if self.num_timesteps % POINT_STEPS == 0 and recent:
            line = {
                "steps": self.num_timesteps,
                "seconds": round(time.monotonic() - self.began, 1),
                "games": self.games,
                "mean_of_last_games": statistics.fmean(game["r"] for game in recent),
            }
            print(json.dumps(line), flush=True)
        return self.num_timesteps < self.steps


def games(env_id: str, count: int, seed: int) -> VecFrameStack:
    """Its own games, with its own preprocessing."""
    return VecFrameStack(make_atari_env(env_id, n_envs=count, seed=seed), n_stack=4)


def main() -> None:
    """Train, print the curve, evaluate, print the scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env-id", default="PongNoFrameskip-v4")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of its computation; its own choice if unset")
    parser.add_argument("--evaluation-games", type=int, default=30)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    model = PPO(
        "CnnPolicy",
        games(options.env_id, 8, options.seed),
        n_steps=128,
        batch_size=256,
        n_epochs=4,
        learning_rate=lambda remaining: 2.5e-4 * remaining,
        clip_range=lambda remaining: 0.1 * remaining,
        vf_coef=0.5,
        ent_coef=0.01,
        seed=options.seed,
    )
    model.learn(PUBLISHED_STEPS, callback=Curve(options.steps))
    scores, _ = evaluate_policy(
        model,
        games(options.env_id, 8, options.seed + 1000),
        options.evaluation_games,
        deterministic=False,
        return_episode_rewards=True,
    )
    told = {"steps": model.num_timesteps, "mean": statistics.fmean(scores), "scores": scores}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
