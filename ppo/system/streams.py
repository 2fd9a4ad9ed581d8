"""Standard output and error that may be closed, broken, or take only some characters."""

import functools
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

UNKNOWN = 80  # columns of a terminal that does not say its width


def replace_closed_streams() -> None:
    """Give closed streams a file that discards everything; no other file then takes their numbers,
    which child processes inherit.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the next file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (kept open to the end)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def protect_streams() -> None:
    """Make every message printable: replace closed streams, and unknown characters."""
    replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether a stream is a terminal. A program's own stream may be closed, or have no isatty."""
    return bool(stream) and getattr(stream, "isatty", bool)()


class Replacing:
    """A stream that shows "?" for each character that it lacks."""

    def __init__(self, stream: IO[str]):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError as error:
            # The error calls many codecs "charmap".
            encoding = getattr(self._stream, "encoding", None) or error.encoding
            return self._stream.write(text.encode(encoding, "replace").decode(encoding))


def say(message: str, stream: IO[str] | None = None) -> None:
    """Print a message, on standard output by default. A terminal gets its lines wrapped at words.
    Once the stream fails, as a closed pipe does, further output is discarded and the work
    continues.
    """
    if not (stream := stream or sys.stdout):
        return
    try:
        if is_terminal(stream):
            message = wrapped(message, shutil.get_terminal_size().columns)
        print(message, file=Replacing(stream), flush=True)
    except OSError:
        discard(stream)


def note(message: str) -> None:
    """Print a line on standard error if it is a terminal, where someone waits."""
    if is_terminal(sys.stderr):
        say(message, sys.stderr)


def wrapped(message: str, width: int) -> str:
    """Wrap each line at words; leave long words, such as paths, and indented lines alone. A width
    of 0 is unknown.
    """
    return "\n".join(
        line
        if line.startswith(" ")
        else textwrap.fill(line, width or UNKNOWN, break_long_words=False, break_on_hyphens=False)
        for line in message.split("\n")
    )


@functools.cache
def warn(message: str) -> None:
    """Print a line on standard error, once in a process."""
    say(message, sys.stderr)


def warn_of_skipped(path: object, noun: str, faults: Sequence[str]) -> None:
    """Warn that lines or rows of a file are skipped, if any are, with the fault of the first."""
    if faults:
        count = f"{len(faults)} {noun}s are" if len(faults) > 1 else f"a {noun} is"
        warn(f"{path}: {count} skipped; {faults[0]}")


def counted(number: int, noun: str) -> str:
    """Return "1 game", "2 games" and so on."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """Return "5 s", "4 min", "3 h 20 min", "2 days 4 h" and so on."""
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{seconds:.0f} s" if seconds < 100 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{counted(days, 'day')} {hours} h" if days else f"{hours} h {minutes} min"


def either(words: Sequence[str]) -> str:
    """Return "a", "a or b", "a, b or c" and so on."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def shortened(text: str) -> str:
    """Return a text, or its beginning if it is long, as a message quotes it."""
    return text if len(text) <= 60 else text[:57] + "..."


def first_line(error: object) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def reason(error: BaseException) -> str:
    """Return what went wrong, in one line: the system's message if the error has one."""
    return first_line(getattr(error, "strerror", None) or error)


def discard(stream: IO[str]) -> None:
    """Discard what a broken stream still holds; otherwise Python fails again when it ends."""
    with open(os.devnull, "wb") as nowhere, suppress(OSError, AttributeError):  # it may be no file
        os.dup2(nowhere.fileno(), stream.fileno())
