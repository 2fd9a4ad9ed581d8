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


def parse(texts: Sequence[str], seed: int, faults: list[str]) -> list[list[str]]:
    """Return the settings of each sample, as KEY=VALUE. Add what is wrong with the arguments to the
    faults; then there is at most one sample. The first of ``texts`` is the number of samples, the
    others are ranges. More samples of the same ranges begin with the same ones.
    """
    if not texts:
        return []
    number, *given = texts
    if not (re.fullmatch("[0-9]{1,5}", number) and 0 < int(number) <= MOST and given):
        wanted = f"write a number of samples from 1 to {MOST:,}, then {FORM}"
        faults.append(f"--sample {' '.join(texts)!r}: {wanted}")
        return []
    twice = repeated(text.partition("=")[0] for text in given)
    ranges, wrong = [], [f"--sample {key}: is given twice" for key in twice]
    for text in given:
        try:
            ranges.append(_range(text))
        except ValueError as error:
            wrong.append(f"--sample {text!r}: {error}")
    faults += wrong
    count = 1 if wrong else int(number)  # the keys of the other ranges may have further faults
    samples, random = dict[tuple[str, ...], None](), Random(seed)
    for _ in range(count * TRIES):
        if len(samples) < count:
            samples[tuple(draw(random) for draw in ranges)] = None
    if len(samples) < count:
        only = f"these ranges have only about {len(samples)} different samples"
        faults.append(f"--sample {count}: {only}")
        return []
    return [list(sample) for sample in samples]


def _range(text: str) -> Draw:
    """Parse a range. Raises ValueError."""
    if not (parts := RANGE.fullmatch(text)):
        raise ValueError(f"write {FORM}, in quotes")
    key, kind, inside = parts.groups()
    values = [value.strip() for value in COMMA.split(inside)]
    if kind == "choice":
        return lambda random: f"{key}={values[int(random.random() * len(values))]}"
    read, numbers = (int, "whole numbers") if kind == "int" else (float, "numbers")
    try:
        low, high = map(read, values)
    except ValueError:
        raise ValueError(f"{kind} needs two {numbers}, LOW,HIGH") from None
    if not abs(low) + abs(high) <= sys.float_info.max:
        raise ValueError("LOW and HIGH must be finite numbers")
    if low >= high:
        raise ValueError("LOW must be below HIGH")
    if kind == "int":
        return lambda random: f"{key}={low + int(random.random() * (high - low + 1)):.0f}"
    if kind == "uniform":
        return lambda random: f"{key}={_rounded(low + random.random() * (high - low), low, high)}"
    if low <= 0:
        raise ValueError("LOW must be above 0")
    ratio = math.log(high / low)
    return lambda random: f"{key}={_rounded(low * math.exp(random.random() * ratio), low, high)}"


def _rounded(value: float, low: float, high: float) -> str:
    """Return the number, within the limits, with four digits of it and of the range's width."""
    digits = 3 - math.floor(math.log10(min(abs(value) or math.inf, high - low)))
    return repr(float(min(max(round(value, digits), low), high))).removesuffix(".0")
