r"""How much of an evaluation's time do its games and its network need?

    python -m benchmarks.judging --logdir=pretrained/pong --games=30

Evaluates both policies, as ``--evaluate`` does, and prints a JSON line: the steps per second of
whole games, those that emulators and forward pass (of the sampled policy) allow, each measured
alone, and the share.
Timings drift with the machine, so both are measured in turn, every 100 steps of the evaluation,
which stands still meanwhile. Its start, with the building of the games and of the graph, counts;
that of the program does not.
"""

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppo.envs.atari import AtariEnvs
from ppo.files.folder import RunFolder
from ppo.process.arguments import expanded

if TYPE_CHECKING:
    from ppo.play.agent import TrainedAgent

EVERY, STEPS = 100, 50


class Alone:
    """Seconds that one step of all games, and one forward pass of all of them, take alone. It is
    called at each step of the evaluation.
    """

    def __init__(self, agent: "TrainedAgent", num_envs: int):
        params = agent.params
        threads = min(params.threads, num_envs)
        self.envs = AtariEnvs(
            agent.rules, num_envs, threads, params.frame_stack, params.screen_size
        )
        self.envs.reset(np.ones(num_envs, bool), np.arange(num_envs))
        self.policy, self.rng = agent.policy, np.random.default_rng(0)
        self.observations = np.zeros((num_envs, *self.envs.observation_shape), np.uint8)
        self.calls = self.measured = 0
        self.games = self.network = self.paused = 0.0

    def __call__(self) -> bool:
        """Measure now and then; the answer is that the evaluation shall go on."""
        self.calls += 1
        if self.calls % EVERY == 0:
            began = time.perf_counter()
            self.games += self._seconds(self._step)
            self.network += self._seconds(self._act)
            self.measured += STEPS
            self.paused += time.perf_counter() - began
        return False

    @property
    def seconds(self) -> float:
        """Of one step with its forward pass."""
        return (self.games + self.network) / self.measured

    def _seconds(self, work: object) -> float:
        began = time.perf_counter()
        for _ in range(STEPS):
            work()  # type: ignore[operator]
        return time.perf_counter() - began

    def _step(self) -> None:
        num_envs = len(self.observations)
        self.envs.send(self.rng.integers(self.envs.num_actions, size=num_envs))
        self.envs.layout(self.envs.receive()[0], self.observations)

    def _act(self) -> None:
        self.policy.act(self.observations, np.array([1, 2], np.int32))


def main() -> None:
    """Evaluate, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--logdir", type=expanded, default=Path("pretrained/pong"))
    parser.add_argument("--games", type=int, default=30)
    options = parser.parse_args()

    from ppo.play.agent import load_agent
    from ppo.play.evaluate import envs_for, evaluate_each
    from ppo.play.games import POLICIES

    agent = load_agent(RunFolder(options.logdir))
    policies = [agent.choosing(choice).policy for choice in POLICIES["both"]]
    num_envs = envs_for(options.games, agent.params.num_envs)
    alone = Alone(agent, num_envs)
    began = time.perf_counter()
    done = evaluate_each(policies, agent.params, options.games, agent.step, alone)
    seconds = time.perf_counter() - began - alone.paused
    steps = sum(game.steps for evaluation in done for game in evaluation.episodes)
    rate, allowed = steps / seconds, num_envs / alone.seconds
    result = {
        "games": options.games,
        "at_once": num_envs,
        "means": {of.choice: one.mean for of, one in zip(policies, done, strict=True)},
        "steps_per_second": round(rate),
        "allowed": round(allowed),
        "share": round(rate / allowed, 3),
    }
    print(json.dumps(result))
    alone.envs.close()


if __name__ == "__main__":
    main()
