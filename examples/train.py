"""Train from Python, then use the policy: python examples/train.py PFILE LOGDIR [KEY=VALUE ...]

PFILE is a file of settings; the package has to be installed (pip install -e .).
"""

import sys
from pathlib import Path

import numpy as np

from ppo import checkpoint, params, policy, train
from ppo.files import progress

pfile, logdir, *overrides = sys.argv[1:]
train.run(params.load(pfile, overrides), logdir)

entry = progress.last_row(Path(logdir))
print(f"step {entry['step']}: score {entry['rollout/ep_rew_mean'] or 'of no whole game yet'}")

settings = params.load(Path(logdir, "params.json"))  # with what was left open
weights = checkpoint.load_weights(logdir)
shape = (settings.screen_size, settings.screen_size, settings.frame_stack)
agent = policy.of_weights(shape, settings, weights)
probabilities, values = agent.outlook(np.zeros((1, *shape), np.uint8))
print("probabilities of the actions on a black screen:", probabilities[0].round(3))
