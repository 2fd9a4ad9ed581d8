"""Random search: settings sampled from ranges, the same ones for the same seed."""

import math
import re
import sys
from collections.abc import Callable, Sequence
from random import Random

from ppo.system.reading import repeated

RANGE = re.compile(r"(\w+)=(uniform|loguniform|int|choice)\(([^()]+)\)")
FORM = "KEY=uniform(LOW,HIGH), loguniform(LOW,HIGH), int(LOW,HIGH) or choice(A,B,C)"
MOST = 10_000  # samples
TRIES = 100  # for each sample, to find one that differs from all before

Draw = Callable[[Random], str]  # samples a setting, as KEY=VALUE
COMMA = re.compile(r",(?![^\[]*\])")  # not inside a list


def parse(texts: Sequence[str], seed: int) -> tuple[list[list[str]], list[str]]:
    """Return the settings of each sample, as KEY=VALUE, and what is wrong with the arguments. With
    a fault there is at most one sample. The first of ``texts`` is the number of samples, the others
    are ranges. More samples of the same ranges begin with the same ones.
    """
    if not texts:
        return [], []
    number, *given = texts
    if not (re.fullmatch("[0-9]{1,5}", number) and 0 < int(number) <= MOST and given):
        wanted = f"write a number of samples from 1 to {MOST:,}, then {FORM}"
        return [], [f"--sample {' '.join(texts)!r}: {wanted}"]
    twice = repeated(text.partition("=")[0] for text in given)
    ranges, faults = [], [f"--sample {key}: is given twice" for key in twice]
    for text in given:
        try:
            ranges.append(_range(text))
        except ValueError as error:
            faults.append(f"--sample {text!r}: {error}")
    if faults:  # the keys of the other ranges may have further faults
        return _drawn(1, ranges, Random(seed))[0], faults
    return _drawn(int(number), ranges, Random(seed))


def _drawn(
    number: int, ranges: Sequence[Draw], random: Random
) -> tuple[list[list[str]], list[str]]:
    samples: dict[tuple[str, ...], None] = {}
    for _ in range(number * TRIES):
        if len(samples) == number:
            return [list(sample) for sample in samples], []
        samples[tuple(draw(random) for draw in ranges)] = None
    return [], [f"--sample {number}: these ranges have only about {len(samples)} different samples"]


def _range(text: str) -> Draw:
    """Parse a range. Raises ValueError."""
    if not (parts := RANGE.fullmatch(text)):
        raise ValueError(f"write {FORM}, in quotes")
    key, kind, inside = parts.groups()
    values = [value.strip() for value in COMMA.split(inside)]
    if kind == "choice":
        return lambda random: f"{key}={values[int(random.random() * len(values))]}"
    low, high = _limits(values, kind)
    if kind == "int":
        return lambda random: f"{key}={low + int(random.random() * (high - low + 1)):.0f}"
    if kind == "uniform":
        return lambda random: f"{key}={_rounded(low + random.random() * (high - low), low, high)}"
    ratio = math.log(high / low)
    return lambda random: f"{key}={_rounded(low * math.exp(random.random() * ratio), low, high)}"


def _limits(values: Sequence[str], kind: str) -> tuple[float, float]:
    read, numbers = (int, "whole numbers") if kind == "int" else (float, "numbers")
    try:
        low, high = map(read, values)
    except ValueError:
        raise ValueError(f"{kind} needs two {numbers}, LOW,HIGH") from None
    if not abs(low) + abs(high) <= sys.float_info.max:
        raise ValueError("LOW and HIGH must be finite numbers")
    if low >= high:
        raise ValueError("LOW must be below HIGH")
    if kind == "loguniform" and low <= 0:
        raise ValueError("LOW must be above 0")
    return low, high


def _rounded(value: float, low: float, high: float) -> str:
    """Return the number, within the limits, with four digits of it and of the range's width."""
    digits = 3 - math.floor(math.log10(min(abs(value) or math.inf, high - low)))
    return repr(float(min(max(round(value, digits), low), high))).removesuffix(".0")
