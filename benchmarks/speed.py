"""Steps per second of the reference work, beside Stable-Baselines3, in turn.

    python -m benchmarks.speed --sb3-python=.venv-sb3/bin/python

The work: Pong, 8 games x 128 steps, 4 epochs x 4 minibatches of 256, games and acting included.
Timings drift with the machine, so each round runs both, and what counts is the ratio. The
machine's matrix-product rate is measured in each round too: what share of it is the training's?
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppo.process.device import default_threads

HERE = Path(__file__).resolve().parent


def last_line(command: list[str]) -> Any:
    """Run one program; its last line is its result, as JSON."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent, check=False)
    if done.returncode:
        said = f"{' '.join(command)} ended with exit code {done.returncode}"
        sys.exit(f"{said}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def ours(settings: Sequence[str], updates: int) -> dict[str, Any]:
    """The reference work with this package."""
    changed = [text for setting in settings for text in ("--set", setting)]
    command = [sys.executable, "-m", "benchmarks.ours", f"--updates={updates}", *changed]
    return last_line([*command, f"--began={time.monotonic()}"])


def main() -> None:
    """Measure in turn, print each round, then the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sb3-python", required=True, help="interpreter with Stable-Baselines3")
    parser.add_argument("--network", default="nature", choices=["nature", "a3c"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=30)
    options = parser.parse_args()
    network = f"network={options.network}"
    sb3 = [options.sb3_python, str(HERE / "sb3.py"), f"--{network}", f"--updates={options.updates}"]
    limit = [sys.executable, "-m", "benchmarks.limits", f"--threads={default_threads()}"]
    ratios, shares, found = [], [], []
    for number in range(1, options.rounds + 1):
        product_rate = last_line(limit)
        us, them = ours([network], options.updates), last_line(sb3)
        ratios.append(us["steps_per_second"] / them["steps_per_second"])
        shares.append(us["steps_per_second"] * us["step_flops"] / product_rate / 1e9)
        found.append(us)
        print(
            f"round {number}: ours {us['steps_per_second']:.0f} steps/s, {us['peak_mib']:.0f} MiB "
            f"({us['above_import_mib']:.0f} above the import of TensorFlow) | "
            f"Stable-Baselines3 {them['steps_per_second']:.0f} steps/s, {them['peak_mib']:.0f} MiB"
            f" | ratio {ratios[-1]:.2f} | matrix products {product_rate:.0f} GFLOP/s",
            flush=True,
        )
    print(
        f"{options.network}: median ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
    flops = found[0]["step_flops"]
    print(
        f"{flops / 1e6:.0f} MFLOP a step: {statistics.median(shares):.0%} of the rate of matrix "
        "products, games included"
    )
    parts = found[0]["split"]
    split = {name: statistics.median(us["split"][name] for us in found) for name in parts}
    print("our time: " + ", ".join(f"{name} {share:.0%}" for name, share in split.items()))
    first = statistics.median(us["seconds_to_first_update"] for us in found)
    used = statistics.median(us["cores_used"] for us in found)
    print(f"start to end of first update: {first:.1f} s; cores used: {used:.2f}")


if __name__ == "__main__":
    main()
