r"""What many workers gain, by a model of an iteration; its numbers come from measurements.

    python -m benchmarks.scale_model --rollout=1.06 --update=1.23 --spread=0.13 --exchanges=16 \
        --small-exchanges=10 --megabytes=2.7 --ms-per-megabyte=2.24 --ms-per-message=0.65

A run's progress.csv tells the seconds of its rollouts and updates, and how far they spread;
``benchmarks.collectives`` what a message and a megabyte cost where no cable is in between. Prints,
for each number of workers and each link, how many times as fast as one worker they are. With
``--cores``, all workers share those of one machine.
"""

import argparse
from dataclasses import dataclass, fields
from statistics import NormalDist

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LINKS = (1.0, 10.0, 100.0)  # Gbit/s
BITS_OF_A_MEGABYTE = 8e6


@dataclass(frozen=True)
class Iteration:
    """An iteration of each worker: seconds of its rollout and of its update, and the standard
    deviation of both together; how often gradients of so many megabytes are exchanged, and how
    often a few numbers; milliseconds that a megabyte and a message take without a cable.
    """

    rollout: float
    update: float
    spread: float
    exchanges: float
    small_exchanges: float
    megabytes: float
    ms_per_megabyte: float
    ms_per_message: float

    def seconds(
        self, workers: int, gigabits: float | None = None, cores: int | None = None
    ) -> float:
        """How long an iteration of the slowest takes, and what is exchanged, over links of
        so many Gbit/s (None: no cable), on machines of their own or on ``cores`` cores.
        """
        share = max(1.0, workers / cores) if cores else 1.0
        slowest = self.rollout + self.update + self.spread * largest_of(workers)
        large = ring_seconds(workers, self.megabytes, gigabits, self)
        small = ring_seconds(workers, 0.0, gigabits, self)
        exchanged = self.exchanges * large + self.small_exchanges * small
        return share * (slowest + exchanged)

    def gain(self, workers: int, gigabits: float | None = None, cores: int | None = None) -> float:
        """How many times as many steps a second as one worker makes."""
        return workers * self.seconds(1) / self.seconds(workers, gigabits, cores)


def ring_seconds(workers: int, megabytes: float, gigabits: float | None, of: Iteration) -> float:
    """One all-reduce around a ring: each worker sends, in 2 (N - 1) messages that wait for each
    other, 2 (N - 1) / N times the data.
    """
    messages = 2 * (workers - 1)
    cable = BITS_OF_A_MEGABYTE / (gigabits * 1e9) if gigabits else 0.0
    per_megabyte = of.ms_per_megabyte / 1000 + cable
    return messages * of.ms_per_message / 1000 + messages / workers * megabytes * per_megabyte


def largest_of(count: int) -> float:
    """The expected largest of so many standard normal numbers (Blom 1958)."""
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for field in fields(Iteration):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, required=True)
    parser.add_argument("--cores", type=int, help="of one machine that all workers share")
    options = vars(parser.parse_args())
    cores = options.pop("cores")
    iteration = Iteration(**options)
    links = [None] if cores else LINKS
    heads = [f"{cores} cores, no cable"] if cores else [f"{link:g} Gbit/s" for link in LINKS]
    print(f"| workers | {' | '.join(heads)} |")
    print(f"| --: |{' --: |' * len(heads)}")
    for workers in WORKERS:
        gains = [iteration.gain(workers, link, cores) for link in links]
        print(f"| {workers} | {' | '.join(f'{gain:.3g}' for gain in gains)} |")


if __name__ == "__main__":
    main()
