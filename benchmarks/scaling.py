"""How the rate grows with the games, the network, the minibatch and the threads.

    python -m benchmarks.scaling --updates=6

Each row is the reference work with a setting or two changed, in a process of its own; the rows are
measured in turn, ``--rounds`` times, and the median is printed. With the games the minibatch grows,
since there are always as many minibatches.
"""

import argparse
import statistics
from collections import defaultdict

from benchmarks.speed import ours
from ppo.process.device import default_threads

ROWS = (
    *(f"num_envs={games}" for games in (1, 2, 4, 8, 16, 32, 64)),
    "network=a3c",
    *(f"network=a3c num_envs={games}" for games in (16, 64)),
    *(f"num_minibatches={number}" for number in (2, 8, 16)),
    *(f"threads={threads}" for threads in range(1, default_threads() + 1)),
)


def main() -> None:
    """Measure in turn, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--updates", type=int, default=6)
    options = parser.parse_args()
    results: dict[str, list[dict]] = defaultdict(list)
    for _ in range(options.rounds):
        for row in ROWS:
            results[row].append(ours(row.split(), options.updates))
    print("| changed | steps/s | acting | games | update | rest | cores | peak MiB |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    for row, found in results.items():
        split = [statistics.median(r["split"][part] for r in found) for part in found[0]["split"]]
        shares = " | ".join(f"{share:.0%}" for share in split)
        rate, cores, peak = (
            statistics.median(r[name] for r in found)
            for name in ("steps_per_second", "cores_used", "peak_mib")
        )
        print(f"| {row} | {rate:.0f} | {shares} | {cores:.2f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
