"""How good is the forecast of ``run_atari.py --check``?

    python -m benchmarks.forecasts --rounds=2

Runs each of two short trainings and forecasts it right after, in turn, since the speed of a shared
machine drifts. Prints one JSON line for each: seconds, peak of the memory in MiB, and bytes of
checkpoints and logs, forecast and measured.
"""

import json
import subprocess
import tempfile
import time
from pathlib import Path

from ppo.envs.resolve import resolved
from ppo.errors import ExitCode
from ppo.params import load
from ppo.preflight.forecast import forecast
from ppo.preflight.probe import peak_memory, probe
from ppo.settings import Params
from ppo.system.arguments import argument_parser
from ppo.system.children import RUN_ATARI, start

GAMES = {
    "pong": Params(
        network="a3c",
        picture_scaling="unit",
        num_envs=16,
        num_epochs=6,
        num_minibatches=8,
        total_steps=60_000,
        evaluation_interval=50_000,
        video_interval=0,
    ),
    "breakout": load(
        "baselines",
        ["env_id=ALE/Breakout-v5", "total_steps=30000", "checkpoint_interval=10000"],
    ),
}


def measured(settings: Params) -> dict[str, float]:
    """A whole run in its own process, under the names of ``foretold``."""
    with tempfile.TemporaryDirectory() as folder:
        file, logdir = Path(folder, "params.json"), Path(folder, "run")
        file.write_text(settings.to_json())
        command = [*RUN_ATARI, f"--logdir={logdir}", f"--pfile={file}"]
        began, peak = time.monotonic(), 0
        process = start(command, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, peak_memory(process.pid))
            time.sleep(0.1)
        assert process.returncode == ExitCode.DONE
        logs = [logdir / "progress.csv", *logdir.glob("events.out.tfevents.*")]
        return {
            "seconds": time.monotonic() - began,
            "memory_mib": peak / 2**20,
            "checkpoints": sum(path.stat().st_size for path in logdir.glob("checkpoints/*")),
            "logs": sum(path.stat().st_size for path in logs),
        }


def foretold(settings: Params) -> dict[str, float]:
    """The forecast of a run."""
    whole = resolved(settings)
    ahead = forecast(whole, probe(whole))
    return {
        "seconds": ahead.seconds,
        "memory_mib": ahead.memory / 2**20,
        "checkpoints": ahead.checkpoints,
        "logs": ahead.logs,
    }


def main() -> None:
    """Run, forecast, print."""
    parser = argument_parser("benchmarks.forecasts", __doc__)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    for _ in range(options.rounds):
        for name, settings in GAMES.items():
            run, ahead = measured(settings), foretold(settings)
            off = {key: round(ahead[key] / run[key] - 1, 3) for key in run}
            print(
                json.dumps({"game": name, "run": run, "forecast": ahead, "off_by": off}), flush=True
            )


if __name__ == "__main__":
    main()
