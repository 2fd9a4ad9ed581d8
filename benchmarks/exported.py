"""Does an exported network act as the package does, in a process without the package?

    python -m benchmarks.exported --logdir=pretrained/pong --observations=10000
    python -m benchmarks.exported --logdir=pretrained/pong --onnx-python=.venv-onnx/bin/python

Plays games of a run's newest checkpoint and exports its network. A process that has Keras alone, or
ONNX Runtime alone, then chooses the most probable action for each observation. Prints JSON.
"""

import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppo.envs.registry import rules_of
from ppo.evaluate.export import export_run
from ppo.replay.replay import Replay, env_at_start
from ppo.system import children
from ppo.system.arguments import argument_parser, expanded, positive

if TYPE_CHECKING:
    from ppo.evaluate.agent import TrainedAgent

# With -I a process ignores this folder and PYTHONPATH. The blocker hides installed packages too.
WITHOUT = """
import sys
class Blocked:
    def find_spec(name, *_):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked)
"""
KERAS = """
import keras, numpy as np
network = keras.saving.load_model(sys.argv[1])
outputs = network.predict(np.load(sys.argv[2], mmap_mode="r"), batch_size=100, verbose=0)
np.savez(sys.argv[3], **outputs)
"""
ONNX_RUNTIME = """
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
(given,), names = session.get_inputs(), [output.name for output in session.get_outputs()]
observations = np.load(sys.argv[2], mmap_mode="r")
parts = [observations[i : i + 100] for i in range(0, len(observations), 100)]
outputs = [session.run(names, {given.name: np.ascontiguousarray(part)}) for part in parts]
np.savez(sys.argv[3], **dict(zip(names, map(np.concatenate, zip(*outputs)))))
"""


def observations_of(replay: Replay) -> Iterator[np.ndarray]:
    """What the agent saw before each of its actions, played again."""
    with closing(env_at_start(replay)) as vector:  # an open emulator is reported as a leak
        for action in replay.actions:
            yield vector.observations[0].copy()
            vector.send(np.array([action]))
            vector.receive()


def games_of(agent: "TrainedAgent") -> Iterator[Replay]:
    """One game of the agent after another, as replays."""
    from ppo.evaluate.evaluate import evaluate

    for number in itertools.count():  # as the step: each step has games of its own
        (episode,) = evaluate(agent.policy, agent.params, 1, number).episodes
        yield Replay.from_episode(episode, rules_of(agent.params))


def alone(
    network: Path, observations: np.ndarray, python: str = sys.executable
) -> dict[str, np.ndarray]:
    """The outputs of an exported network, by name, in a process without the package."""
    is_onnx = network.suffix == ".onnx"
    absent = ("ppo", "run_atari", *(("keras", "tensorflow") if is_onnx else ()))
    code = WITHOUT.format(names=absent) + (ONNX_RUNTIME if is_onnx else KERAS)
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = Path(folder, "observations.npy"), Path(folder, "outputs.npz")
        np.save(inputs, observations)
        command = [python, "-I", "-c", code, *map(str, (network.resolve(), inputs, outputs))]
        children.run(command, cwd=folder, check=True, capture_output=True)
        with np.load(outputs) as arrays:
            return dict(arrays)


def compared(
    agent: "TrainedAgent", network: Path, observations: np.ndarray, python: str = sys.executable
) -> dict[str, float]:
    """How many of the actions of an exported network are the agent's own, and the largest
    differences of the outputs, with the given Python.
    """
    parts = np.array_split(observations, max(1, len(observations) // 100))
    outputs = [agent.policy.network(part) for part in parts]
    logits, values = (np.concatenate(output) for output in zip(*outputs, strict=True))
    theirs = alone(network, observations, python)
    same = theirs["logits"].argmax(1) == logits.argmax(1)
    return {
        "observations": len(observations),
        "same_actions": int(same.sum()),
        "logits_differ_by": float(np.abs(theirs["logits"] - logits).max()),
        "values_differ_by": float(np.abs(theirs["value"] - values).max()),
    }


def main() -> None:
    """Play, export, compare, print."""
    parser = argument_parser("benchmarks.exported", __doc__)
    parser.add_argument("--logdir", type=expanded, required=True)
    parser.add_argument("--observations", type=positive, default=10_000)
    parser.add_argument("--onnx-python", type=expanded, help="has ONNX Runtime and no Keras")
    options = parser.parse_args()
    from ppo.evaluate.agent import load

    agent = load(options.logdir)
    seen = itertools.chain.from_iterable(map(observations_of, games_of(agent)))
    observations = np.array(list(itertools.islice(seen, options.observations)))
    with tempfile.TemporaryDirectory() as folder:
        name = "network.onnx" if options.onnx_python else "network.keras"
        network = export_run(options.logdir, str(Path(folder, name)))
        python = str(options.onnx_python or sys.executable)
        print(json.dumps(compared(agent, network, observations, python)))


if __name__ == "__main__":
    main()
