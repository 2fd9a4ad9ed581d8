"""Play an exported network: python examples/play.py agent.keras PongNoFrameskip-v4 10"""

import os
import sys

import ale_py
import gymnasium
import numpy as np
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

# Python's messages go to a copy of standard error. Messages of C++ libraries go nowhere.
sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
import keras  # noqa: E402

gymnasium.register_envs(ale_py)
network = keras.saving.load_model(sys.argv[1])
_, size, _, stack = network.input_shape
env = AtariPreprocessing(gymnasium.make(sys.argv[2], frameskip=1), screen_size=size)
env = FrameStackObservation(env, stack, padding_type="zero")
rng = np.random.default_rng(0)
for game in range(int(sys.argv[3])):
    observation, info = env.reset(seed=game)
    score, over, lives = 0.0, False, sys.maxsize
    names = env.unwrapped.get_action_meanings()
    while not over:
        logits = network.predict_on_batch(np.moveaxis(observation, 0, -1)[np.newaxis])["logits"][0]
        action = np.argmax(logits + rng.gumbel(size=len(logits)))  # sampled from their softmax
        if "FIRE" in names and info["lives"] < lives:  # a game or a life begins
            action = names.index("FIRE")
        lives = info["lives"]
        observation, reward, terminated, truncated, info = env.step(action)
        score, over = score + float(reward), terminated or truncated
    print(f"game {game + 1}: {score:g}", flush=True)
