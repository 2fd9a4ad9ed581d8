"""Stable-Baselines3's learning curve with the settings that rl-zoo3 publishes for Atari games.

    .venv-sb3/bin/python benchmarks/sb3_curve.py --logdir=runs/sb3 --steps=585000 --seed=1
    python -m ppo.sweep --logdir=runs --draw ours=RUN,RUN --draw Stable-Baselines3=runs/sb3

Writes the mean score of the last 100 games to a ``progress.csv`` with our names, every 10,240
steps, and prints the scores of whole games of the sampled policy at the end, as a JSON line. The
settings are those of rl-zoo3 2.9.2 (see sb3.py): learning rate and clip range fall
over the 10,000,000 steps that it names; this script stops earlier. Runs with an interpreter of
its own, which has benchmarks/requirements-sb3.txt.
"""

import argparse
import csv
import json
import statistics
import time
from pathlib import Path

import torch
from sb3 import CLIP_RANGE, LEARNING_RATE, PUBLISHED, games
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy

PUBLISHED_STEPS = 10_000_000
POINT_STEPS = 10_240


class Curve(BaseCallback):
    """Writes the score down as it learns, and ends the learning at a step."""

    def __init__(self, path: Path, steps: int) -> None:
        super().__init__()
        self.path, self.steps, self.began = path, steps, time.monotonic()
        self._write("step", "rollout/ep_rew_mean", "time/time_elapsed")

    def _on_step(self) -> bool:
        scores = [game["r"] for game in self.model.ep_info_buffer]
        if self.num_timesteps % POINT_STEPS == 0 and scores:
            seconds = round(time.monotonic() - self.began, 1)
            self._write(self.num_timesteps, statistics.fmean(scores), seconds)
        return self.num_timesteps < self.steps

    def _write(self, *row: object) -> None:
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerow(row)


def main() -> None:
    """Train, print the curve, evaluate, print the scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logdir", type=Path, required=True, help="a new folder")
    parser.add_argument("--env-id", default="PongNoFrameskip-v4")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of its computation; its own choice if unset")
    parser.add_argument("--evaluation-games", type=int, default=30)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    options.logdir.mkdir(parents=True)
    model = PPO(
        "CnnPolicy",
        games(options.env_id, options.seed),
        learning_rate=lambda remaining: LEARNING_RATE * remaining,
        clip_range=lambda remaining: CLIP_RANGE * remaining,
        seed=options.seed,
        **PUBLISHED,
    )
    curve = Curve(options.logdir / "progress.csv", options.steps)
    model.learn(PUBLISHED_STEPS, callback=curve)
    scores, _ = evaluate_policy(
        model,
        games(options.env_id, options.seed + 1000),
        options.evaluation_games,
        deterministic=False,
        return_episode_rewards=True,
    )
    told = {"steps": model.num_timesteps, "mean": statistics.fmean(scores), "scores": scores}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
