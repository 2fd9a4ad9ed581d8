"""What a run was forked from, as its folder tells it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ppo.files.folder import FolderError, RunFolder, write_whole


@dataclass(frozen=True)
class Origin:
    """The run and the step that a fork began from, and the settings that it changed, each before
    and after.
    """

    run: Path
    step: int
    changes: dict[str, tuple[object, object]]

    def is_of(self, run: Path, step: int) -> bool:
        """Whether it is this step of this run, which may have been moved."""
        moved = self.run.name == run.name and not RunFolder(self.run).params.exists()
        return self.step == step and (moved or self.run.resolve() == run.resolve())


def write(folder: RunFolder, origin: Origin) -> None:
    """Tell a fork's folder what it was forked from."""
    told = asdict(origin) | {"run": str(origin.run.absolute())}
    write_whole(folder.origin, (json.dumps(told, indent=2) + "\n").encode())


def read(folder: RunFolder) -> Origin | None:
    """What a run was forked from; None if it is no fork. Raises FolderError."""
    try:
        told = json.loads(folder.origin.read_text())
        changes = {key: (old, new) for key, (old, new) in told.get("changes", {}).items()}
        return Origin(Path(told["run"]), int(told["step"]), changes)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FolderError(
            f"{folder.origin} does not tell what the run was forked from: {error}"
        ) from error
