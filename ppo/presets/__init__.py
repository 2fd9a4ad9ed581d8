"""Settings by name, as JSON files beside this one."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The names of all presets."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def find(name_or_path: str) -> Path:
    """The file of a preset, or else the path itself; an existing file takes precedence."""
    is_file = os.path.exists(name_or_path)  # False for a path that the system refuses
    preset = name_or_path in names() and not is_file
    return FOLDER / f"{name_or_path}.json" if preset else Path(name_or_path)
