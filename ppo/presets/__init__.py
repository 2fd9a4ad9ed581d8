"""Settings by name, as JSON files beside this one, each with what it was measured to reach.

``measured.jsonl`` has a line for each measured one, which ``python -m benchmarks.measured`` writes.
"""

import os
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from ppo.system import reading
from ppo.system.arguments import expanded
from ppo.system.streams import counted

FOLDER = Path(__file__).parent
MEASURED = FOLDER / "measured.jsonl"
FORMER_NAMES = {"schulman2017": "baselines"}


class Measured(NamedTuple):
    """What runs of a preset reached: the mean score of whole games with its 95 percent interval."""

    preset: str
    seeds: list[int]
    steps: int
    games: int  # of each run
    policy: str
    score: float
    low: float
    high: float
    minutes: float  # of a run, on the mean
    threads: int
    precision: str
    machine: str
    date: str

    @property
    def env_id(self) -> str:
        return reading.value(FOLDER / f"{self.preset}.json", reading.ANYTHING)["env_id"]

    @property
    def result(self) -> str:
        """The score, as a line."""
        return (
            f"{self.env_id}: {self.score:,.2f} (95 percent interval {self.low:,.2f} to "
            f"{self.high:,.2f}) after {self.steps:,} steps, {self.minutes:.0f} minutes"
        )

    @property
    def circumstances(self) -> str:
        """How it was measured, as a line."""
        seeds = f"seed{'s' * (len(self.seeds) > 1)} {', '.join(map(str, self.seeds))}"
        threads = counted(self.threads, "thread")
        place = f"{threads}, {self.precision}, {self.machine}, {self.date}"
        return f"{self.games} games, {self.policy}; {seeds}; {place}"


def names() -> list[str]:
    """The names of all presets."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def find(name_or_path: str | Path) -> Path:
    """The file of a preset, or the path itself. A file, unlike a folder, takes precedence."""
    path = expanded(name_or_path)
    if os.path.isfile(path):  # False for a path that the system refuses
        return path
    name = FORMER_NAMES.get(str(name_or_path), str(name_or_path))
    return FOLDER / f"{name}.json" if name in names() else path


def measured() -> list[Measured]:
    """Return what presets were measured to reach."""
    return reading.all_lines(MEASURED, TypeAdapter(Measured))


def entries() -> list[tuple[str, str, str]]:
    """Return each preset's name, what it reached, and how that was measured."""
    lines = {line.preset: (line.result, line.circumstances) for line in measured()}
    return [(name, *lines.get(name, ("not measured", ""))) for name in names()]
