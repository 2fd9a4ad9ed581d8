"""The reference work with Stable-Baselines3; prints one JSON line. See benchmarks/speed.py.

Runs with an interpreter of its own, which has benchmarks/requirements-sb3.txt.
"""

import argparse
import json
import resource
import time
from typing import Any

import ale_py
import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecFrameStack

gymnasium.register_envs(ale_py)

# What rl-zoo3 2.9.2 publishes for Atari games (hyperparams/ppo.yml); the first two fall to 0.
LEARNING_RATE, CLIP_RANGE = 2.5e-4, 0.1
GAMES = 8
PUBLISHED = {"n_steps": 128, "batch_size": 256, "n_epochs": 4, "vf_coef": 0.5, "ent_coef": 0.01}


def games(env_id: str, seed: int) -> VecFrameStack:
    """Its own games, with its own preprocessing."""
    return VecFrameStack(make_atari_env(env_id, n_envs=GAMES, seed=seed), n_stack=4)


class SmallNetwork(BaseFeaturesExtractor):
    """The network of Mnih et al. 2016, which Stable-Baselines3 does not bring."""

    def __init__(self, space: gymnasium.spaces.Box) -> None:
        super().__init__(space, 256)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(space.shape[0], 16, 8, 4),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 4, 2),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(2592, 256),
            torch.nn.ReLU(),
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Features of scaled pictures."""
        return self.layers(observations)


class Clock(BaseCallback):
    """Notes when each rollout begins."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def _on_rollout_start(self) -> None:
        self.times.append(time.perf_counter())

    def _on_step(self) -> bool:
        return True


def main() -> None:
    """Warm up, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="nature")
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=3)
    options = parser.parse_args()
    small: dict[str, Any] = {"features_extractor_class": SmallNetwork}
    model = PPO(
        "CnnPolicy",
        games("PongNoFrameskip-v4", seed=1),
        learning_rate=LEARNING_RATE,
        clip_range=CLIP_RANGE,
        seed=1,
        policy_kwargs=small if options.network == "a3c" else None,
        **PUBLISHED,
    )
    clock = Clock()
    rollouts = options.warm_up + options.updates
    rollout_steps = GAMES * PUBLISHED["n_steps"]
    model.learn(rollouts * rollout_steps, callback=clock)
    wall = time.perf_counter() - clock.times[options.warm_up]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    speed = options.updates * rollout_steps / wall
    print(json.dumps({"steps_per_second": speed, "peak_mib": peak}))


if __name__ == "__main__":
    main()
