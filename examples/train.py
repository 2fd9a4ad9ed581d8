"""Train from Python, then use the policy: python examples/train.py PFILE LOGDIR [KEY=VALUE ...]

PFILE is a file of settings or a preset; the package has to be installed (pip install -e .).
"""

import sys
from pathlib import Path

import numpy as np

from ppo import params, train
from ppo.envs import registry
from ppo.evaluate.agent import load_agent
from ppo.files.folder import RunFolder
from ppo.telemetry import progress

if len(sys.argv) < 3:
    sys.exit(__doc__)
pfile, logdir, *overrides = sys.argv[1:]
train.run(params.load(pfile, overrides), logdir)

entry = progress.last_row(Path(logdir))
print(f"step {entry['step']}: score {entry['rollout/ep_rew_mean'] or 'of no whole game yet'}")

agent = load_agent(RunFolder(Path(logdir)))
shape = registry.observation_shape(agent.params)
kind = np.uint8 if len(shape) == 3 else np.float32
probabilities, values = agent.policy.outlook(np.zeros((1, *shape), kind))
print("probabilities of the actions for an observation of zeros:", probabilities[0].round(3))
