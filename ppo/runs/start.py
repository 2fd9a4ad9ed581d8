"""What a run starts from. It is known before TensorFlow is imported."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ppo.checkpoint import Checkpoint, SessionFacts
from ppo.envs.episode import Rules
from ppo.settings import Params
from ppo.tally import reached

Changes = dict[str, tuple[object, object]]


def is_finished(saved: Checkpoint, params: Params) -> bool:
    """Whether nothing remains to do of a run as it was saved, with these settings."""
    done = saved.step >= params.whole_steps or reached(saved.trainer.recent, params.stop_at_score)
    return done and not saved.session.due.unfinished


def longer(step: int, params: Params) -> str:
    """The override that continues a run that is finished at a step."""
    return f"total_steps={2 * step}" if step >= params.whole_steps else "stop_at_score=null"


@dataclass(frozen=True)
class Start:
    """What a run starts from: a checkpoint to resume from, or none.

    ``changes`` are the settings that differ from those that the checkpoint was made with, before
    and now; ``new_games`` says that new games may begin where the unfinished ones cannot be
    restored; ``fork_of`` is the run that the checkpoint is of, if it is another one's.
    """

    checkpoint: Checkpoint | None = None
    changes: Changes = field(default_factory=dict)
    new_games: bool = False
    fork_of: Path | None = None

    @property
    def facts(self) -> SessionFacts:
        """What the session resumes from; a fork has files of its own."""
        if not self.checkpoint:
            return SessionFacts()
        new: dict[str, Any] = {"log": {}, "best_saved": None, "pictured": None}
        own = new if self.fork_of else {}
        return self.checkpoint.session.model_copy(update=own)

    @property
    def same_rules(self) -> bool | None:
        """Of a fork, whether the games go by the rules that they went by; else None."""
        if self.fork_of is None:
            return None
        return not self.changes.keys() & {field.name for field in fields(Rules)}
