"""What leaves its usual range first in a log, and which class of cause that indicates."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ppo.autopsy.changes import LARGE_STEPS
from ppo.telemetry.collapse import TO_STD
from ppo.telemetry.progress import Row, points

BEFORE = 20  # entries that form a band
FEWEST_BEFORE = 8  # entries of a band that must have the quantity
RELATIVE_FLOOR = 0.05  # of the median, for quantities not on a logarithmic scale
# Least share lost for one entry to be a sign. A smaller loss may be a bad rollout.
LOST = 0.75

Number = Callable[[Row], float]


class Alarm(NamedTuple):
    """Thresholds of a sign: quantities at once, deviations from the median, successive entries."""

    quantities: int
    deviations: float
    entries: int


# Healthy runs reached at most 6.3, 3.0 and 2.2 deviations in 2,100 entries.
ALARMS = Alarm(1, 8.0, 2), Alarm(2, 4.0, 2), Alarm(3, 3.0, 1)
NEAR = Alarm(1, 4.0, 2)  # of the entries just before one with an alarm
MOST_ENTRIES = max(alarm.entries for alarm in (*ALARMS, NEAR))


@dataclass(frozen=True)
class Quantity:
    """A quantity in a log entry."""

    name: str
    number: Number  # reads it from an entry; not finite if missing
    floor: float  # least standard deviation, on its scale
    direction: int  # which departure is a sign: 1 (up), -1 (down) or 0 (either)
    logarithmic: bool = True

    def shown(self, number: float) -> str:
        """Return a number on its scale in a readable form."""
        return f"{math.exp(number) if self.logarithmic else number:.3g}"


def _log(tag: str) -> Number:
    return lambda row: math.log(row[tag]) if row.get(tag, 0.0) > 0 else math.nan


def _change(row: Row) -> float:
    """Return the mean logarithm of the layers' movement relative to their weights."""
    changes = [number for tag, number in row.items() if tag.startswith("layers/change_")]
    return float(np.mean(np.log(changes))) if changes and min(changes) > 0 else math.nan


def _target(row: Row) -> float:
    """Return the distance of the surrogate's target from the old policy, in clip ranges."""
    distance, clip = row.get("train/target_distance", 0.0), row.get("train/clip_range", 0.0)
    return math.log(distance / clip) if distance > 0 and clip > 0 else math.nan


def _entropy(row: Row) -> float:
    return -row.get("train/entropy_loss", math.nan)


# The floors are how far the quantities move from entry to entry in healthy runs.
POINTS = Quantity("points a step", points, 0.0, -1, logarithmic=False)
SPREAD = _log("train/advantage_std")
ADVANTAGE_STD = Quantity("standard deviation of the advantages", SPREAD, 0.1, 0)
MOVEMENT = Quantity("movement of the layers", _change, 0.1, 1)
KL = Quantity("approximate KL", _log("train/approx_kl"), 0.15, 1)
RATIOS = Quantity("distance of the ratios from 1", _log("train/ratio_distance"), 0.1, 1)
TARGET = Quantity("distance of the target", _target, 0.05, 0)
GRADIENT_NORM = Quantity("gradient norm", _log("train/grad_norm"), 0.1, 1)
QUANTITIES = (
    *(POINTS, ADVANTAGE_STD, MOVEMENT, KL, RATIOS, TARGET, GRADIENT_NORM),
    Quantity("value loss", _log("train/value_loss"), 0.5, 1),
    Quantity("entropy", _entropy, 0.02, 0, logarithmic=False),
)


@dataclass(frozen=True)
class Distance:
    """The distance of a quantity in an entry from the median of its band."""

    quantity: Quantity
    index: int  # of the entry
    before: float  # the median
    now: float
    deviations: tuple[float, ...]  # of this entry and the next ones that an alarm may need

    def sets_off(self, alarm: Alarm) -> bool:
        """Whether enough entries are outside the band, or one entry is far enough outside."""
        deviation = self.deviations[0]
        sign = self.quantity.direction or math.copysign(1.0, deviation)
        outside = [sign * far >= alarm.deviations for far in self.deviations[: alarm.entries]]
        if len(outside) < alarm.entries:
            return False
        # Of points, a single entry far below the band is enough.
        lost = self.quantity is POINTS and self.before - self.now >= LOST * abs(self.before)
        return all(outside) or (lost and deviation <= -alarm.deviations)


def distance(quantity: Quantity, rows: Sequence[Row], index: int) -> Distance | None:
    """Return how far a quantity is from the median of its band, the BEFORE entries before this one.
    Return None if the entry lacks the quantity, or if there is no band.
    """
    before = _numbers(quantity.number, rows[max(0, index - BEFORE) : index])
    now = _numbers(quantity.number, rows[index : index + MOST_ENTRIES])
    if len(before) < FEWEST_BEFORE or not math.isfinite(quantity.number(rows[index])):
        return None
    median = float(np.median(before))
    spread = TO_STD * float(np.median(np.abs(np.array(before) - median)))
    relative = 0.0 if quantity.logarithmic else RELATIVE_FLOOR * abs(median)
    spread = max(spread, quantity.floor, relative, 1e-12)
    deviations = tuple((number - median) / spread for number in now)
    return Distance(quantity, index, median, now[0], deviations)


def _numbers(number: Number, rows: Sequence[Row]) -> list[float]:
    return [value for row in rows if math.isfinite(value := number(row))]


def departures(rows: Sequence[Row], index: int) -> dict[str, Distance]:
    """Return the quantities whose departure at an entry is a sign. One quantity is enough if it is
    far outside its band; otherwise several must be outside (see ALARMS).
    """
    for alarm in ALARMS:
        if len(outside := _outside(rows, index, alarm)) >= alarm.quantities:
            return outside
    return {}


def _outside(rows: Sequence[Row], index: int, alarm: Alarm) -> dict[str, Distance]:
    distances = (distance(quantity, rows, index) for quantity in QUANTITIES)
    return {far.quantity.name: far for far in distances if far and far.sets_off(alarm)}


def first(rows: Sequence[Row], begin: int = 0, end: int | None = None) -> dict[str, Distance]:
    """Return the departures of the first entry that has any, from ``begin`` up to ``end``. If
    entries just before it reach NEAR, return the departures of the earliest of them.
    """
    for index in range(len(rows))[begin:end]:
        if departed := departures(rows, index):
            while index and (before := _outside(rows, index - 1, NEAR)):
                departed, index = before, index - 1
            return departed
    return {}


class Cause(NamedTuple):
    """A class of causes: its name, and what to do."""

    name: str
    remedy: str


REWARDS = Cause(
    "the scale of the rewards has changed", "look at the env; clip_rewards, or rewards of about 1"
)
TRUST = Cause("the trust region fails", "look at clip_range and delta_target_policy")
WEIGHTS = Cause(
    "the weights or the env were changed from outside an update",
    "compare with a fork of the last checkpoint before; look at what wrote to the run, and at the "
    "env's own versions",
)
STEPS = Cause(LARGE_STEPS, "lower learning_rate, or use larger minibatches")
VALUE = Cause(
    "the value's gradient drives the trunk", "lower learning_rate, or value_coef if you raised it"
)
ENTROPY = Cause("the entropy bonus outweighs the surrogate", "lower entropy_coef")
ADVANTAGES = Cause(
    "the advantages are computed differently", "look at gamma, gae_lambda and what ends a return"
)
UNKNOWN = Cause("no known cause", "compare forks from before it, each with one change")


def cause(rows: Sequence[Row], departed: Mapping[str, Distance]) -> Cause:
    """Return the class of cause that the departures of one entry indicate."""
    jump = defaultdict(float, {name: far.now - far.before for name, far in departed.items()})
    index = next(iter(departed.values())).index
    lost = POINTS.name in departed
    # A damaged policy also has large advantages. If points were lost as well, only a 100-fold rise
    # counts.
    most = math.log(100 if lost else 10)
    causes = (
        (jump[ADVANTAGE_STD.name] > most, REWARDS),
        (abs(jump[TARGET.name]) > math.log(2), TRUST),
        (lost, WEIGHTS),
        (jump[MOVEMENT.name] > math.log(2.5) or jump[KL.name] > math.log(10), STEPS),
        (jump[GRADIENT_NORM.name] > math.log(4), VALUE),
        (_rise(rows, index, _entropy) > 0.15, ENTROPY),
        (jump[ADVANTAGE_STD.name] < 0, ADVANTAGES),
        (max(jump[KL.name], jump[RATIOS.name]) > 0, STEPS),
    )
    return next((cause for applies, cause in causes if applies), UNKNOWN)


def _rise(rows: Sequence[Row], index: int, number: Number) -> float:
    """Return by how much the highest of four entries from here exceeds the median before them."""
    before = _numbers(number, rows[max(0, index - BEFORE) : index])
    after = _numbers(number, rows[index : index + 4])
    return max(after) - float(np.median(before)) if before and after else 0.0
