"""Settings by name, as JSON files beside this one."""

from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The names of all presets."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def find(name_or_path: str) -> Path:
    """The file of a preset, or else the path itself; an existing file takes precedence."""
    path = Path(name_or_path)
    return path if path.exists() or name_or_path not in names() else FOLDER / f"{path}.json"
