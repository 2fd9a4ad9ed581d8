"""The settings in words, and as a JSON schema: type, range, default and meaning of each."""

import json
import typing
from collections.abc import Iterable
from dataclasses import astuple
from typing import Annotated, Any, Literal, NamedTuple, Union

from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import BaseModel

from ppo.settings import Params
from ppo.settings.fields import GROUPS, Properties
from ppo.system import reading, tables

REFERENCE = "$schema"
OURS = {"title", *Properties.__annotations__}  # keys that the schema leaves out


class Form(NamedTuple):
    """A setting's type, without None; its limits; and whether it may be null."""

    type: Any
    limits: list[Any]
    nullable: bool


def form_of(key: str) -> Form:
    """Return the form of a setting."""
    field = Params.model_fields[key]
    parts = typing.get_args(field.annotation)
    nullable = type(None) in parts
    return Form(parts[0] if nullable else field.annotation, list(field.metadata), nullable)


def type_and_range(key: str) -> str:
    """Return a setting's type and range: "float, above 0, at most 1, or null"."""
    annotation, limits, nullable = form_of(key)
    return _words(annotation, limits) + (", or null" if nullable else "")


def _words(annotation: Any, limits: Iterable[Any] = ()) -> str:
    kind, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if kind is Annotated:
        return _words(parts[0], parts[1:])
    if kind is Literal:
        words = " or ".join(map(json.dumps, parts))
    elif kind is Union:  # the package's own choices, or a function
        words = f'{_words(parts[0])} or "MODULE:FUNCTION"'
    elif kind is list:
        size = next(limit for limit in limits if isinstance(limit, Len))
        words = f"list of {size.min_length} to {size.max_length}, each {_words(parts[0])}"
    else:
        words = _TYPE_NAMES[annotation]
    bounds = ((_BOUNDS.get(type(limit)), limit) for limit in limits)
    return ", ".join([words, *(f"{bound} {astuple(limit)[0]}" for bound, limit in bounds if bound)])


_TYPE_NAMES = {int: "int", float: "float", str: "string", bool: "true or false"}
_BOUNDS = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}


def as_given(value: object) -> str:
    """Return a setting's value as a command line gives it: a string as it is, others as JSON. A
    string that would be read as JSON, such as "2026", keeps its quotes.
    """
    if isinstance(value, str) and reading.parse_or_text(value) == value:
        return value
    return json.dumps(value)


def default_of(key: str) -> str:
    """Return a setting's default, as JSON."""
    return json.dumps(Params.model_fields[key].default)


def text(markdown: bool = False) -> str:
    """Describe every setting, one line a key, or as Markdown tables."""
    if not markdown:
        return tables.tabs(_rows(Params))
    head, parts = ["key", "type and range", "default", "meaning"], []
    for group in GROUPS:
        cells = [(f"`{key}`", kind, f"`{value}`", text) for key, kind, value, text in _rows(group)]
        parts.append(f"## {group.__doc__}\n\n{tables.markdown(head, cells)}")
    return "\n".join(parts)


def entries() -> list[tuple[str, str, str]]:
    """Return every setting: its key, its meaning, and its default, type and range."""
    return [(key, text, f"default {value}; {kind}") for key, kind, value, text in _rows(Params)]


def _rows(settings: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    return [
        (key, type_and_range(key), default_of(key), str(field.description))
        for key, field in settings.model_fields.items()
    ]


def schema() -> str:
    """Return the JSON Schema (draft 2020-12) of a params file, with which editors check it."""
    generated = Params.model_json_schema()
    generated["properties"] = {
        REFERENCE: {"type": "string", "description": "where this schema is, for editors"},
        **{
            key: {name: value for name, value in setting.items() if name not in OURS}
            for key, setting in generated["properties"].items()
        },
    }
    described = {
        REFERENCE: "https://json-schema.org/draft/2020-12/schema",
        **generated,
        "title": "Settings of a run",
        "description": "A params file of run_atari.py: omitted settings have their defaults.",
    }
    return json.dumps(described, indent=2) + "\n"
