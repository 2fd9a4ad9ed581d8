"""Steps per second of the reference work, beside Stable-Baselines3, in turn.

    python -m benchmarks.speed --sb3-python=.venv-sb3/bin/python

The work: Pong, 8 games x 128 steps, 4 epochs x 4 minibatches of 256, games and acting included.
Timings drift with the machine, so each round runs both, and what counts is the ratio.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def measure(command: list[str], network: str, updates: int) -> dict[str, Any]:
    """Run one program; its last line is its result."""
    done = subprocess.run(
        [*command, f"--network={network}", f"--updates={updates}"],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=HERE.parent,
    )
    return json.loads(done.stdout.splitlines()[-1])


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
    ours_command = [sys.executable, "-m", "benchmarks.ours"]
    sb3_command = [options.sb3_python, str(HERE / "sb3.py")]
    ratios, all_ours = [], []
    for number in range(1, options.rounds + 1):
        ours = measure(ours_command, options.network, options.updates)
        sb3 = measure(sb3_command, options.network, options.updates)
        ratios.append(ours["steps_per_second"] / sb3["steps_per_second"])
        all_ours.append(ours)
        print(
            f"round {number}: ours {ours['steps_per_second']:.0f} steps/s, "
            f"{ours['peak_mib']:.0f} MiB | "
            f"Stable-Baselines3 {sb3['steps_per_second']:.0f} steps/s, {sb3['peak_mib']:.0f} MiB | "
            f"ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(
        f"{options.network}: median ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
    split = {
        name: statistics.median(ours["split"][name] for ours in all_ours)
        for name in all_ours[0]["split"]
    }
    print("our time: " + ", ".join(f"{name} {share:.0%}" for name, share in split.items()))
    first = statistics.median(ours["seconds_to_first_update"] for ours in all_ours)
    used = statistics.median(ours["cores_used"] for ours in all_ours)
    print(f"start to end of first update: {first:.1f} s; cores used: {used:.2f}")


if __name__ == "__main__":
    main()
