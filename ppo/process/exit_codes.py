"""Exit codes, and the message that goes with one."""

import sys
from enum import IntEnum

from ppo.process.streams import say


class ExitCode(IntEnum):
    """The command's exit codes."""

    DONE = 0
    FAILED = 1
    REFUSED = 2  # nothing was started
    STOPPED = 3  # by a signal, with everything saved
    DIVERGED = 4
    COLLAPSED = 5  # again after all rollbacks, with everything saved
    LOST = 6  # another worker of the run died or hangs; all but its last iteration is saved


def fail(code: ExitCode, message: str) -> ExitCode:
    """Print the message as an error; returns the code."""
    say(message, sys.stderr)
    return code
