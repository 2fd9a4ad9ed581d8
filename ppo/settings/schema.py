"""The JSON schema of a params file, with which editors complete and check it."""

import json
from typing import Any

from ppo.settings import Params, Properties

REFERENCE = "$schema"
OURS = {"title", *Properties.__annotations__}  # keys that no editor knows


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the settings: types, ranges, defaults, meanings."""
    made = Params.model_json_schema()
    made["properties"] = {
        REFERENCE: {"type": "string", "description": "where this schema is, for editors"},
        **{
            key: {name: value for name, value in setting.items() if name not in OURS}
            for key, setting in made["properties"].items()
        },
    }
    return {
        REFERENCE: "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "Settings of a run",
        "description": "A params file of run_atari.py: omitted settings have their defaults.",
    }


def describe() -> str:
    """Return the schema as a file."""
    return json.dumps(schema(), indent=2) + "\n"
