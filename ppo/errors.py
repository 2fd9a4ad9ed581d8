"""The errors that a command reports in one line, each with its exit code."""

import textwrap
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class ExitCode(IntEnum):
    """The exit codes of every command, each with its meaning."""

    meaning: str

    DONE = 0, "done"
    FAILED = 1, "failed"
    REFUSED = 2, "refused, with nothing started"
    STOPPED = 3, "stopped by a signal, with everything saved"
    DIVERGED = 4, "training diverged"
    COLLAPSED = 5, "collapsed again after all rollbacks, with everything saved"
    LOST = 6, "another worker of the run was lost, with progress saved"

    def __new__(cls, number: int, meaning: str = "") -> "ExitCode":
        code = int.__new__(cls, number)
        code._value_, code.meaning = number, meaning
        return code


def exit_codes(last: ExitCode = ExitCode.LOST) -> str:
    """Describe the exit codes up to ``last``, for the end of a help."""
    codes = "; ".join(f"{code:d} {code.meaning}" for code in ExitCode if code <= last)
    return textwrap.fill(f"exit codes: {codes}", 79)


class PPOError(Exception):
    """An error that the user sees as one message. ``code`` is the command's exit code. ``remedy``
    completes the message if ``str`` does not say what to do.
    """

    code = ExitCode.FAILED
    remedy = ""

    def in_full(self) -> str:
        """Return the message with its remedy and its notes, which say what was saved."""
        message = "; ".join(filter(None, [str(self), self.remedy]))
        notes = getattr(self, "__notes__", [])
        stop = "." if notes and message[-1:] not in ".!?" else ""
        return " ".join([message + stop, *notes])


class Refused(PPOError):
    """Nothing was started; the message says why."""

    code = ExitCode.REFUSED


class Stopped(PPOError):
    """The run was asked to stop; everything was saved."""

    code = ExitCode.STOPPED


class NotFinite(PPOError):
    """The network's output for ``observations`` is not finite."""

    code = ExitCode.DIVERGED

    def __init__(self, observations: "np.ndarray"):
        self.observations = observations.copy()
        super().__init__(
            "the network's output is not finite: its weights are not, or the observations are not"
        )


class ScoreNotFinite(NotFinite):
    """Evaluation episodes have a score that is not finite."""

    def __init__(self, count: int, games: int):
        Exception.__init__(
            self,
            f"the score of {count} of {games} games is not finite, since a reward of the "
            "environment was not: the evaluation is neither stored nor compared",
        )


class Diverged(PPOError):
    """A number was not finite and was not saved. ``batch`` is the data that led to it."""

    code = ExitCode.DIVERGED

    def __init__(self, step: int, batch: "dict[str, np.ndarray]"):
        self.step, self.batch = step, batch
        super().__init__(
            f"a number was not finite after step {step:,}; that iteration was not saved. Lower "
            "learning_rate, or look for rewards or observations that are not finite"
        )


class Collapsed(PPOError):
    """The policy collapsed again after all rollbacks; everything was saved."""

    code = ExitCode.COLLAPSED

    def __init__(self, step: int, rollbacks: int):
        super().__init__(
            f"the policy has collapsed again by step {step:,}, after {rollbacks} rollbacks; "
            "everything is saved. --explain shows what came first; to continue, resume with --set "
            "collapse_guard=warn"
        )


class EnvironmentFailed(PPOError, RuntimeError):
    """An environment's code raised an error, or returned what Gymnasium does not allow.

    ``call`` is the call that failed, ``reason`` the environment's own message. ``refused`` is true
    if the error is Gymnasium's, or if none of the environment's own lines raised it.
    """

    def __init__(self, message: str, call: str = "", reason: str = "", refused: bool = False):
        self.call, self.reason, self.refused = call, reason, refused
        super().__init__(message)


class WorkerLost(PPOError):
    """Another worker of the run died or does not answer. ``worker`` is its index, or None if
    unknown. ``begun`` says whether all workers had connected.
    """

    code = ExitCode.LOST

    def __init__(self, worker: int | None, reason: object, begun: bool = True):
        self.worker = worker
        self.remedy = (
            "progress is saved; continue with --resume"
            if begun
            else "nothing had begun; start all workers again"
        )
        which = "a worker" if worker is None else f"worker {worker}"
        super().__init__(f"{which} of the run was lost: it died, or does not answer ({reason})")


class WorkersDiffer(Refused):
    """Workers that were started differently; the message names the difference."""
