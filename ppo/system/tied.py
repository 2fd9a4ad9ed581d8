"""Become a command that ends with its parent: ``python -I -S tied.py PARENT SIGNAL COMMAND ...``.

It is a separate program, since Python must not run between fork and exec if there are threads.
"""

import ctypes
import os
import signal
import sys

PARENT_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG
# Python ignores these, and whatever it executes would inherit that.
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def main() -> None:
    """Get a signal when the parent thread ends, or now if it has ended; execute the command."""
    parent, number, *command = sys.argv[1:]
    if int(number) != signal.SIGKILL:
        signal.signal(int(number), signal.SIG_DFL)  # a shell may have had it ignored
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, int(number))
    if os.getppid() != int(parent):
        os.kill(os.getpid(), int(number))
    for ignored in IGNORED_BY_PYTHON:
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
