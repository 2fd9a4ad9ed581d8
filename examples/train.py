"""usage: python examples/train.py ENV LOGDIR [KEY=VALUE ...]

Train on a game, then let the agent play. ENV is PongNoFrameskip-v4, CartPole-v1 or another id,
KEY=VALUE any setting. The package must be installed (pip install -e .).
"""

import sys

import ppo
from ppo.errors import PPOError

if len(sys.argv) < 3:
    sys.exit(__doc__)
env, logdir, *overrides = sys.argv[1:]

try:
    result = ppo.train.run({}, logdir, overrides, env=env)
except PPOError as error:
    print(error.in_full(), file=sys.stderr)
    sys.exit(error.code)
print(f"step {result.step}: mean score {result.score}, best {result.best}, in {result.folder}")

agent = ppo.load(logdir, which="newest")
evaluation = agent.evaluate(games=3)
print(f"the agent's mean of {len(evaluation.scores)} games: {evaluation.mean:.2f}")
