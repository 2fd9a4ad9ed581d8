"""The schema of a params file says what its reader accepts."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo import presets
from ppo.params import ParamsError, load
from ppo.settings import Params
from ppo.settings.describe import schema
from ppo.settings.fields import GROUPS

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads(schema())
KEYS = [key for group in GROUPS for key in group.model_fields]


def accepts(of: dict[str, Any], value: Any) -> bool:
    """Whether a value is valid by the parts of JSON Schema that are used here."""
    known = {"type", "anyOf", "enum", "default", "description", "minimum", "maximum"}
    known |= {"exclusiveMinimum", "exclusiveMaximum", "pattern", "items", "minItems", "maxItems"}
    assert not {*of} - known
    if "anyOf" in of:
        return any(accepts(part, value) for part in of["anyOf"])
    if "enum" in of:
        return value in of["enum"]
    if of.get("type") == "array":
        fits = isinstance(value, list) and of["minItems"] <= len(value) <= of["maxItems"]
        return fits and all(accepts(of["items"], part) for part in value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "null": value is None,
        "number": number,
        "integer": number and float(value).is_integer(),
    }[of["type"]]:
        return False
    if "pattern" in of:
        return re.search(of["pattern"], value) is not None
    return not number or (
        of.get("minimum", -math.inf) <= value <= of.get("maximum", math.inf)
        and of.get("exclusiveMinimum", -math.inf) < value < of.get("exclusiveMaximum", math.inf)
    )


def test_it_has_every_setting_with_its_default_and_meaning():
    assert [*SCHEMA["properties"]] == ["$schema", *Params.model_fields]
    assert SCHEMA["additionalProperties"] is False
    for key, field in Params.model_fields.items():
        assert SCHEMA["properties"][key]["default"] == field.default
        assert SCHEMA["properties"][key]["description"] == field.description


VALUES = (
    st.none()
    | st.booleans()
    | st.sampled_from(["a3c", "linear", "wat"])
    | st.sampled_from([-1, 0, 0.5, 1, 1.5, 2.0, 10**13])
    | st.sampled_from(["my.own:trunk", "my.own:", [], [8], [0], [8.5], ["a"], [8] * 17])
)


@given(st.sampled_from(KEYS), VALUES)
def test_it_accepts_what_the_reader_accepts_of_a_single_setting(tmp_path_factory, key, value):
    file = tmp_path_factory.mktemp("settings") / "file.json"
    file.write_text(json.dumps({key: value}))
    try:
        load(file)
        faults = []
    except ParamsError as error:
        faults = error.faults
    # What is in range can still not fit the other settings, with faults of another form.
    read = not any(f"{key} = " in fault and "must be" in fault for fault in faults)
    assert accepts(SCHEMA["properties"][key], value) == read


@pytest.mark.parametrize("name", presets.names())
def test_presets_are_valid(name):
    values = json.loads(presets.find(name).read_text())
    assert all(accepts(SCHEMA["properties"][key], value) for key, value in values.items())


@pytest.mark.parametrize(
    "path", [ROOT / "example-pong-params.json", *map(presets.find, presets.names())], ids=str
)
def test_schema_of_a_file_is_the_generated_one(path):
    generated = path.resolve().parent / json.loads(path.read_text())["$schema"]
    assert generated.read_text() == schema()
