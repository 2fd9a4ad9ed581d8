"""Steps per second of the reference work, beside other programs that do the same, in turn.

    python -m benchmarks.speed --sb3-python=.venv-sb3/bin/python
    python -m benchmarks.speed --set precision=bfloat16 --beside "mine=python mine.py --updates=30"

The work: Pong, 8 games x 128 steps, 4 epochs x 4 minibatches of 256, games and acting included.
Timings drift with the machine, so each round runs all programs, and only the ratio counts.
--beside runs any other program in turn with this package. It must print its result as its last
line, in JSON: {"steps_per_second": 500, "peak_mib": 600}.
"""

import argparse
import json
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ppo.system import children
from ppo.system.arguments import argument_parser, expanded, positive

HERE = Path(__file__).resolve().parent


def last_line(command: list[str]) -> Any:
    """Run one program; its last line is its result, as JSON."""
    done = children.run(command, capture_output=True, text=True, cwd=HERE.parent, check=False)
    if done.returncode:
        message = f"{' '.join(command)} ended with exit code {done.returncode}"
        sys.exit(f"{message}:\n{done.stderr[-2000:]}")
    try:
        result = json.loads(done.stdout.splitlines()[-1])
        return result | {key: float(result[key]) for key in ("steps_per_second", "peak_mib")}
    except (LookupError, TypeError, ValueError):
        sys.exit(f"{' '.join(command)}: its last line is no result; see --help")


def ours(settings: Sequence[str], updates: int) -> dict[str, Any]:
    """The reference work with this package."""
    changed = [text for setting in settings for text in ("--set", setting)]
    command = [sys.executable, "-m", "benchmarks.ours", f"--updates={updates}", *changed]
    return last_line([*command, f"--began={time.monotonic()}"])


def program(text: str) -> tuple[str, list[str]]:
    """Read NAME=COMMAND."""
    name, _, command = text.partition("=")
    if not (name and (words := shlex.split(command))):
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=COMMAND")
    if not shutil.which(words[0]):
        raise argparse.ArgumentTypeError(f"{name}: no such program: {words[0]}")
    return name, words


def sb3(python: str) -> tuple[str, list[str]]:
    """Read the path of an interpreter with Stable-Baselines3."""
    return program(f"Stable-Baselines3={shlex.quote(str(expanded(python)))}")


def describe(name: str, speed: dict[str, Any]) -> str:
    """Speed and memory of one program, as a line says them."""
    return f"{name} {speed['steps_per_second']:.0f} steps/s, {speed['peak_mib']:.0f} MiB"


def main() -> None:
    """Measure in turn, print each round, then the medians."""
    parser = argument_parser("benchmarks.speed", __doc__)
    add = parser.add_argument
    add("--sb3-python", metavar="PYTHON", type=sb3, help="interpreter with Stable-Baselines3")
    add("--beside", action="append", default=[], metavar="NAME=COMMAND", type=program)
    add("--network", default="nature", choices=["nature", "a3c"])
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="of ours")
    add("--rounds", type=positive, default=3)
    add("--updates", type=positive, default=30)
    options = parser.parse_args()
    programs = options.beside
    if options.sb3_python:
        work = [f"--network={options.network}", f"--updates={options.updates}"]
        name, python = options.sb3_python
        programs += [(name, [*python, str(HERE / "sb3.py"), *work])]
    if not programs:
        parser.error("give --sb3-python or --beside")
    if len(others := dict(programs)) < len(programs):
        parser.error("--beside: two programs have the same name")
    settings = [f"network={options.network}", *options.set]
    ratios: dict[str, list[float]] = {name: [] for name in others}
    speeds = []
    for number in range(1, options.rounds + 1):
        us = ours(settings, options.updates)
        speeds.append(us)
        parts = [describe("ours", us)]
        for name, command in others.items():
            them = last_line(command)
            ratios[name].append(us["steps_per_second"] / them["steps_per_second"])
            parts.append(f"{describe(name, them)}, ratio {ratios[name][-1]:.2f}")
        print(f"round {number}: " + " | ".join(parts), flush=True)
    for name, by_round in ratios.items():
        print(
            f"{options.network} beside {name}: median ratio {statistics.median(by_round):.2f} "
            f"({min(by_round):.2f} to {max(by_round):.2f})"
        )
    summarize(speeds)


def summarize(speeds: Sequence[dict[str, Any]]) -> None:
    """Print where our time goes."""
    rate = statistics.median(us["steps_per_second"] for us in speeds)
    flops = speeds[0]["step_flops"]
    print(f"{flops / 1e6:.0f} MFLOP a step: {flops * rate / 1e9:.0f} GFLOP/s, games included")
    parts = speeds[0]["split"]
    split = {name: statistics.median(us["split"][name] for us in speeds) for name in parts}
    print("our time: " + ", ".join(f"{name} {share:.0%}" for name, share in split.items()))
    above = statistics.median(us["above_import_mib"] for us in speeds)
    first = statistics.median(us["seconds_to_first_update"] for us in speeds)
    used = statistics.median(us["cores_used"] for us in speeds)
    print(
        f"{above:.0f} MiB above the import of TensorFlow; start to end of first update: "
        f"{first:.1f} s; cores used: {used:.2f}"
    )


if __name__ == "__main__":
    main()
