"""Settings read from a flat JSON file.

All faults of a file are listed at once, each with its remedy, before anything is created.
"""

import difflib
import json
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ppo import presets
from ppo.errors import Refused
from ppo.settings import EARLIER, Params, other_names
from ppo.settings.describe import default_of, form_of, type_and_range
from ppo.settings.rules import inconsistencies, kept_faults
from ppo.system import reading
from ppo.system.arguments import expanded
from ppo.system.streams import first_line, shortened


class ParamsError(Refused, ValueError):
    """Every fault of the given settings: ``faults`` is a list of lines."""

    def __init__(self, faults: str | Sequence[str]):
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


Check = Callable[[Params, frozenset[str]], list[str]]
Source = str | Path | Mapping[str, Any] | Params
Overrides = Sequence[str] | Mapping[str, Any]


def load(source: Source, overrides: Overrides = (), checks: Sequence[Check] = ()) -> Params:
    """Read settings, with overrides on top. ``source`` is a JSON file, the name of a preset, a
    mapping, or other settings. Overrides are a mapping, or texts ``KEY=VALUE``.

    ``checks`` are validations that need other modules, such as the names of the games: each
    takes the settings and the keys already known to be invalid, and returns faults. Raises
    ParamsError with all faults at once, and TypeError for another kind of source or overrides.
    """
    if isinstance(source, Params):
        source = source.model_dump()
    if isinstance(source, Mapping):
        # JSON turns NumPy's numbers into Python's and tuples into lists, as for --set.
        values: dict[str, Any] = {}
        faults = [fault for text in texts(source) for fault in _override(values, text)]
    elif isinstance(source, str | Path):
        values, faults = _read_file(presets.find(source))
    else:
        raise TypeError(f"settings must be a file, a preset's name, or a mapping: {source!r}")
    return _checked(values, faults, overrides, [kept_faults, *checks])


def load_run(path: str | Path, overrides: Overrides = (), checks: Sequence[Check] = ()) -> Params:
    """Load a run's own settings. A setting that the run lacks gets the value from before the
    setting existed. The rules about kept checkpoints are checked only if an override
    names those settings.
    """
    values, faults = _read_file(expanded(path))
    if any(change.startswith("keep_checkpoints_") for change in texts(overrides)):
        checks = [kept_faults, *checks]
    return _checked(EARLIER | values, faults, overrides, checks)


def with_workers(settings: Params, count: int) -> Params:
    """Return the settings with this number of workers. Raises ParamsError if another is set."""
    if settings.workers == count:
        return settings
    if settings.workers != 1:
        raise ParamsError(
            f"workers = {settings.workers}: the run was started with {count}; leave the setting "
            f"out, or start the run with --workers={settings.workers}"
        )
    return _checked(settings.model_dump() | {"workers": count}, [], [], [])


def game_of(values: Mapping[str, Any], overrides: Overrides) -> Any:
    """Return the ``env_id`` of a mapping with overrides on top; None if they do not name one."""
    merged = dict(values)
    for text in texts(overrides):
        _override(merged, text)  # `load` reports the faults
    return merged.get("env_id")


def texts(overrides: Overrides) -> list[str]:
    """Return overrides as texts ``KEY=VALUE``. Raises TypeError for anything else, and ParamsError
    for a key with "=", which no text can have.
    """
    if isinstance(overrides, Mapping):
        if unlike := [key for key in overrides if "=" in str(key)]:
            raise ParamsError([f"{_show(key)}: there is no such setting" for key in unlike])
        to_json = json.JSONEncoder(default=_plain).encode
        try:
            return [f"{key}={to_json(value)}" for key, value in overrides.items()]
        except (TypeError, ValueError, RecursionError) as error:
            raise ParamsError(f"a setting has no JSON: {first_line(error)}") from error
    listed = [overrides] if isinstance(overrides, str) else overrides
    if not isinstance(listed, Sequence) or not all(isinstance(text, str) for text in listed):
        raise TypeError(f"overrides must be a mapping, or texts KEY=VALUE: {overrides!r}")
    return list(listed)


def _plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays as Python's, and anything else as a text."""
    return value.tolist() if hasattr(type(value), "tolist") else repr(value)


def _checked(
    values: dict[str, Any], faults: list[str], overrides: Overrides, checks: Sequence[Check]
) -> Params:
    values.pop("$schema", None)
    for text in texts(overrides):
        faults += _override(values, text)
    faults += [
        f"{_show(key)}: there is no such setting; {answer(key, values)}"
        for key in values
        if key not in Params.model_fields
    ]
    known = {key: value for key, value in values.items() if key in Params.model_fields}
    values = {key: _number(key, value) for key, value in known.items()}
    bad: frozenset[str] = frozenset()
    try:
        settings = Params(**values)
    except ValidationError as error:
        # An inconsistency has no key of its own.
        bad = frozenset(str(detail["loc"][0]) for detail in error.errors() if detail["loc"])
        settings = Params.model_construct(**{k: v for k, v in values.items() if k not in bad})
        faults += [_fault(key, known[key]) for key in known if key in bad]
        faults += inconsistencies(settings, bad)
    for check in checks:
        faults += check(settings, bad)
    if faults:
        raise ParamsError(faults)
    return settings


def _read_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    text = ""
    try:
        text = reading.text(path)
        values, faults = _parse(text)
    except OSError as error:
        from ppo.envs.registry import near_ids  # here, because it imports Gymnasium

        remedy = f"give a JSON file of settings or a preset: {', '.join(presets.names())}"
        for env_id in near_ids(str(path), cutoff=0.8)[:1]:
            remedy += f". For the game use --env={env_id} (in Python: {{'env_id': '{env_id}'}})"
        return {}, [f"{path}: cannot be read ({error.strerror}); {remedy}"]
    except reading.NotJSON as error:
        hint = " (a comma after the last setting?)" if re.search(r",\s*}\s*$", text) else ""
        return {}, [f"{path}: {error}{hint}; write one flat JSON object of settings"]
    except ValueError as error:
        return {}, [f"{path}: {error}"]
    if not isinstance(values, dict):
        return {}, [f'{path}: must hold one JSON object, such as {{"env_id": "Pong"}}']
    return values, faults


def _parse(text: str) -> tuple[Any, list[str]]:
    """Parse JSON, and report duplicate keys as faults. NaN and Infinity become floats here;
    every setting rejects them later. Raises ValueError.
    """
    faults = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        for key in sorted(reading.repeated(key for key, _ in items)):
            faults.append(f"duplicate key {_show(key)}; keep one of them")
        return dict(items)

    return reading.parse(text, pairs, float), faults


def _override(values: dict[str, Any], text: str) -> list[str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        return [f"{text}: write a setting as KEY=VALUE, such as total_steps=100000"]
    try:
        values[name], faults = _parse(value)
    except reading.NotJSON:
        values[name] = value  # a bare word is a string, as in --set network=a3c
        return []
    except ValueError as error:
        return [f"{name}: {error}"]
    return [f"{text}: {fault}" for fault in faults]


def _number(key: str, value: Any) -> Any:
    """Return a number in the setting's type: 1 becomes 1.0 for a float setting; 1e6 becomes 1000000
    for an int setting, up to 2^53.
    """
    wanted = form_of(key).type
    if wanted is float and type(value) is int:
        with suppress(OverflowError):
            return float(value)
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= 2**53
    return int(value) if whole and wanted is int else value


def answer(key: str, values: Mapping[str, Any]) -> str:
    """Say what to use instead of a key that is not a setting; ``values`` are all given values."""
    if isinstance(values[key], dict):
        return f"write one flat JSON object, with what is under {key}"
    if known := other_names.hint(key, values):
        return known
    near = difflib.get_close_matches(other_names.plain(key), Params.model_fields, n=1, cutoff=0.8)
    if near and _has_type(near[0], values[key]):
        return f"did you mean {near[0]}?"
    return "it has no known counterpart; --describe-params lists all keys"


def _has_type(key: str, value: Any) -> bool:
    """Whether a value is of a setting's type, whatever its range."""
    wanted, _, nullable = form_of(key)
    if value is None:
        return nullable
    if not isinstance(wanted, type):
        wanted = typing.get_origin(wanted) if typing.get_origin(wanted) is list else str
    return type(_number(key, value)) is wanted


def _fault(key: str, value: Any) -> str:
    message = f"{key} = {_show(value)}: must be {type_and_range(key)} (default {default_of(key)})"
    return message + other_names.value_hint(key, value)


def _show(value: Any) -> str:
    return shortened(json.dumps(value, default=repr))
