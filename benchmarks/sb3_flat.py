"""Train Stable-Baselines3 on a vector environment with rl-zoo3's settings; print its scores.

    python benchmarks/sb3_flat.py CartPole-v1 --seed 0 --steps 100000

Plays 20 games with sampled actions. Runs with an interpreter of its own, which has
benchmarks/requirements-sb3.txt.
"""

import argparse
import json
import time

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

# Number of envs, normalisation, and arguments of PPO in rl-zoo3 2.9.2, hyperparams/ppo.yml.
PUBLISHED = {
    "CartPole-v1": (
        (8, False),
        {"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20}
        | {"learning_rate": lambda left: 0.001 * left, "clip_range": lambda left: 0.2 * left},
    ),
    "Acrobot-v1": ((16, True), {"n_steps": 256, "gae_lambda": 0.94, "n_epochs": 4}),
    "LunarLander-v3": (
        (16, False),
        {"n_steps": 1024, "batch_size": 64, "gae_lambda": 0.98, "gamma": 0.999, "n_epochs": 4}
        | {"ent_coef": 0.01},
    ),
}


def main() -> None:
    """Train, play, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env", choices=PUBLISHED)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    (count, normalized), settings = PUBLISHED[options.env]
    envs = make_vec_env(options.env, count, options.seed)
    if normalized:
        envs = VecNormalize(envs)
    began = time.monotonic()
    agent = PPO("MlpPolicy", envs, seed=options.seed, device="cpu", **settings)
    agent.learn(options.steps)
    minutes = (time.monotonic() - began) / 60
    if normalized:
        envs.training = envs.norm_reward = False
    scores, _ = evaluate_policy(agent, envs, 20, deterministic=False, return_episode_rewards=True)
    mean = sum(scores) / len(scores)
    print(json.dumps(vars(options) | {"mean": mean, "minutes": minutes, "scores": scores}))


if __name__ == "__main__":
    main()
