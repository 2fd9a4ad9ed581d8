"""How a command ends: every error becomes an exit code and one message."""

import os
import sys
from collections.abc import Callable

from ppo.errors import ExitCode, PPOError
from ppo.system.signals import ctrl_c_raises, restore_signals, stop_interrupts
from ppo.system.streams import discard, protect_streams, say


def run_command(command: Callable[[], int | None], stopped: str | None = None) -> int:
    """Run a command and return its exit code, 0 for None. Print the message of what it raises.

    With ``stopped``, SIGINT, SIGTERM and SIGHUP interrupt the command, which has then saved
    everything and ends with this message.
    """
    protect_streams()
    restore_signals()
    code: int = ExitCode.DONE
    try:
        os.getcwd()
    except FileNotFoundError:
        return _fail(ExitCode.REFUSED, "the current folder was removed; change to another with cd")
    try:
        code = _code_of(command, stopped)
        sys.stdout.flush()
    except OSError as error:  # the printed output did not arrive
        discard(sys.stdout)
        if code == ExitCode.DONE and not isinstance(error, BrokenPipeError):
            return _fail(ExitCode.FAILED, _reason(error))
    return code  # for a broken pipe: its reader has enough


def _code_of(command: Callable[[], int | None], stopped: str | None) -> int:
    try:
        with stop_interrupts() if stopped else ctrl_c_raises():
            return command() or ExitCode.DONE
    except PPOError as error:
        return _fail(error.code, error.in_full())
    except BrokenPipeError:
        raise
    except OSError as error:
        return _fail(ExitCode.FAILED, _reason(error))
    except KeyboardInterrupt:
        if stopped:
            return _fail(ExitCode.STOPPED, stopped)
        return _fail(ExitCode.FAILED, "interrupted; files that were complete remain")
    except Exception as error:
        if (cause := _memory_error(error)) is None:
            raise
        return _fail(ExitCode.FAILED, "out of memory" + (f": {cause}" if str(cause) else ""))


def _memory_error(error: BaseException | None) -> BaseException | None:
    """Return the lack of memory behind an error, even if errors of the cleanup followed it."""
    while error and not isinstance(error, MemoryError):
        if type(error).__name__ == "ResourceExhaustedError":  # TensorFlow's
            break
        error = error.__cause__ or error.__context__
    return error


def _reason(error: OSError) -> str:
    """Return the system's message and the file it concerns."""
    if error.strerror is None or error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _fail(code: ExitCode, message: str) -> ExitCode:
    say(message, sys.stderr)
    return code
