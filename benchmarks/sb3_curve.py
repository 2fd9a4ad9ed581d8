"""Stable-Baselines3's learning curve and scores with the settings that rl-zoo3 publishes.

    .venv-sb3/bin/python benchmarks/sb3_curve.py --logdir=runs/sb3 --steps=585000 --seed=1
    python -m ppo.sweep --logdir=runs --draw ours=RUN,RUN --draw Stable-Baselines3=runs/sb3

Writes the mean score of the last 100 games to a ``progress.csv`` with our names, every 10,240
steps, and the scores of whole games of the sampled and the greedy policy at the end to an
``evaluations.jsonl``. SIGINT and SIGTERM save after the rollout; called again, it resumes, with new
games in place of the unfinished ones. The settings are those of rl-zoo3 2.9.2 (see sb3.py):
learning rate and clip range fall over the 10,000,000 steps that it names, unless
``--schedule-steps`` says otherwise. Runs with an interpreter of its own, which has
benchmarks/requirements-sb3.txt. Exit code 3: stopped and saved.
"""

import argparse
import contextlib
import csv
import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path

import torch
from sb3 import CLIP_RANGE, LEARNING_RATE, PUBLISHED, games
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy

PUBLISHED_STEPS = 10_000_000
POINT_STEPS = 10_240
SAVE_STEPS = 10 * POINT_STEPS
STOPS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 3


class Ended(Exception):
    """The training has reached its last step."""


class Stopped(Exception):
    """The training was asked to stop; it is saved."""


class Curve(BaseCallback):
    """Writes the score down as it learns; saves, and ends the learning, between two rollouts."""

    def __init__(self, logdir: Path, steps: int, step: int, seconds: float) -> None:
        """``step`` and ``seconds`` are those of the model that training begins with."""
        super().__init__()
        self.path, self.saved = logdir / "progress.csv", logdir / "model.zip"
        self.steps, self.written = steps, step
        self.began = time.monotonic() - seconds
        self.stopped = False
        for number in STOPS:
            signal.signal(number, self._stop)
        cut(self.path, step)

    def _stop(self, *_: object) -> None:
        self.stopped = True

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        step = self.model.num_timesteps
        if step >= self.steps:
            raise Ended
        if step > self.written and step % POINT_STEPS == 0:
            self.point()
        if self.stopped or (step and step % SAVE_STEPS == 0):
            self.save()
        if self.stopped:
            raise Stopped

    def point(self) -> None:
        """Write a row, without a score if no game has ended."""
        self.written = self.model.num_timesteps
        scores = [game["r"] for game in self.model.ep_info_buffer]
        write(self.path, self.written, statistics.fmean(scores) if scores else "", self._seconds())

    def save(self) -> None:
        """Save the model, whole or not at all, and the time that it took."""
        self.model.seconds = self._seconds()
        partial = self.saved.with_name("partial.zip")
        self.model.save(partial)
        os.replace(partial, self.saved)

    def _seconds(self) -> float:
        return round(time.monotonic() - self.began, 1)


def write(path: Path, *row: object) -> None:
    """Append a row."""
    with open(path, "a", newline="") as file:
        csv.writer(file).writerow(row)


def cut(path: Path, step: int) -> None:
    """Drop the rows after a step, which a resume writes again; a new file gets its head."""
    rows = []
    if path.exists():
        with open(path, newline="") as file:
            rows = [row for row in list(csv.reader(file))[1:] if int(row[0]) <= step]
    path.unlink(missing_ok=True)
    for row in [("step", "rollout/ep_rew_mean", "time/time_elapsed"), *rows]:
        write(path, *row)


def begun(options: argparse.Namespace) -> PPO:
    """The model that was saved, or a new one."""
    saved = options.logdir / "model.zip"
    if saved.exists():
        model = PPO.load(saved, env=games(options.env_id, options.seed))
        model.set_random_seed(options.seed + model.num_timesteps)
        return model
    model = PPO(
        "CnnPolicy",
        games(options.env_id, options.seed),
        learning_rate=lambda remaining: LEARNING_RATE * max(remaining, 0.0),
        clip_range=lambda remaining: CLIP_RANGE * max(remaining, 0.0),
        seed=options.seed,
        **PUBLISHED,
    )
    model.seconds = 0.0
    return model


def train(model: PPO, options: argparse.Namespace) -> None:
    """Train to the last step, and save. Raises Stopped."""
    curve = Curve(options.logdir, options.steps, model.num_timesteps, model.seconds)
    more = options.schedule_steps - model.num_timesteps
    with contextlib.suppress(Ended):
        model.learn(more, callback=curve, reset_num_timesteps=False)
    if model.num_timesteps > curve.written:
        curve.point()
    curve.save()


def evaluate(model: PPO, options: argparse.Namespace) -> None:
    """Play whole games with both policies; write and print their true scores."""
    for number in STOPS:
        signal.signal(number, lambda *_: sys.exit(STOPPED))
    lines = []
    for policy in ("sampled", "greedy"):
        scores, _ = evaluate_policy(
            model,
            games(options.env_id, options.seed + 1000),
            options.evaluation_games,
            deterministic=policy == "greedy",
            return_episode_rewards=True,
        )
        facts = {"step": model.num_timesteps, "policy": policy, "seed": options.seed}
        lines.append(json.dumps(facts | {"mean": statistics.fmean(scores), "scores": scores}))
        print(lines[-1], flush=True)
    partial = options.logdir / "partial.jsonl"
    partial.write_text("".join(f"{line}\n" for line in lines))
    os.replace(partial, options.logdir / "evaluations.jsonl")


def main() -> int:
    """Train, or resume; evaluate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logdir", type=lambda text: Path(text).expanduser(), required=True)
    parser.add_argument("--env-id", default="PongNoFrameskip-v4")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--schedule-steps", type=int, default=PUBLISHED_STEPS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of its computation; its own choice if unset")
    parser.add_argument("--evaluation-games", type=int, default=30)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    options.logdir.mkdir(parents=True, exist_ok=True)
    model = begun(options)
    try:
        train(model, options)
    except Stopped:
        return STOPPED
    evaluate(model, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
