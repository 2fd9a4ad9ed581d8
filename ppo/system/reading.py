"""Read files that anyone may have written: only regular ones, of a limited size, and sound JSON."""

import errno
import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

from annotated_types import Ge, Lt
from pydantic import TypeAdapter, ValidationError

from ppo.system.streams import first_line, reason

LARGEST = 64 * 2**20  # bytes of a file that is read whole
SCORE_LIMIT = 1e305  # sums and means of scores below it are finite
MOST_DIGITS = 4000  # of a whole number; Python itself refuses 4,301
LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # which UTF-8 cannot have

Form = TypeVar("Form")
Thing = TypeVar("Thing", bound=Hashable)
Step = Annotated[int, Ge(0), Lt(2**63)]  # of a run, as a file has it
ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)


class Unreadable(OSError):
    """A file that is not what it should be. Its ``strerror`` gives the reason in one line."""

    def __init__(self, path: Path, why: object):
        super().__init__(errno.EINVAL, first_line(why), str(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class NotJSON(ValueError):
    """A text that is not JSON at all."""


def check(path: Path) -> None:
    """Raise Unreadable unless the path is a regular file or does not exist."""
    with suppress(FileNotFoundError), opened(path):
        pass


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file. Refuse a pipe or a device at once, since reading it may never end.

    Raises FileNotFoundError if the path does not exist, and Unreadable.
    """
    try:
        _check_regular(path, os.stat(path))
        # A file that has replaced it meanwhile does not block either.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise Unreadable(path, "a link to a file that does not exist") from error
        raise
    except Unreadable:
        raise
    except (OSError, ValueError) as error:
        raise Unreadable(path, reason(error)) from error
    with os.fdopen(handle, "rb") as file:
        _check_regular(path, os.fstat(handle))
        yield file


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(path, "not a regular file")


def content(path: Path, largest: float = LARGEST) -> bytes:
    """Return the content of a regular file. Raises as ``opened``."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise Unreadable(path, f"larger than {largest / 2**20:,.0f} MiB")
        try:
            return file.read(size)
        except OSError as error:
            raise Unreadable(path, error.strerror) from error


def text(path: Path) -> str:
    """Return the text of a file in UTF-8, without a byte order mark. Raises as ``opened``."""
    try:
        return content(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(path, f"not UTF-8 (byte {error.start:,})") from error


def value(path: Path, form: TypeAdapter[Form]) -> Form:
    """Return what a JSON file holds, which must have the given form. Raises as ``opened``."""
    try:
        return validated(text(path), form)
    except ValueError as error:
        raise Unreadable(path, error) from error


def lines(path: Path, form: TypeAdapter[Form]) -> tuple[list[Form], list[str]]:
    """Return the fitting JSON values in a file's lines, and a fault for each other line."""
    values, faults = [], []
    for number, line in enumerate(content(path).splitlines(), 1):
        try:
            if not line.strip():
                continue
            values.append(validated(line.decode("utf-8-sig"), form))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    return values, faults


def all_lines(path: Path, form: TypeAdapter[Form]) -> list[Form]:
    """Return ``lines``. Raises Unreadable also for a line that does not fit."""
    values, faults = lines(path, form)
    if faults:
        raise Unreadable(path, faults[0])
    return values


def validated(source: str, form: TypeAdapter[Form]) -> Form:
    """Return the JSON value in a text, in the given form. Raises ValueError, in one line."""
    try:
        return form.validate_python(parse(source))
    except ValidationError as error:
        raise ValueError(first_fault(error)) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        raise ValueError(f"a key is there twice: {repeated(key for key, _ in pairs)[0]!r}")
    return parsed


def repeated(things: Iterable[Thing]) -> list[Thing]:
    """Return the things that are there more than once."""
    return [thing for thing, times in Counter(things).items() if times > 1]


def _finite(number: str) -> float:
    if not math.isfinite(parsed := float(number)):
        raise ValueError(f"a number is not finite: {number[:20]}")
    return parsed


def _whole(number: str) -> int:
    if len(number) > MOST_DIGITS:
        raise ValueError(f"a number has {len(number):,} digits")
    return int(number)


def parse(
    source: str,
    make_object: Callable[[list[tuple[str, Any]]], Any] = _object,
    make_number: Callable[[str], float] = _finite,
) -> Any:
    """Return the JSON value in a text. Raises NotJSON. Raises ValueError for a value that nests too
    deeply, a repeated key, a number that is not finite or too long, or half a character.
    """
    try:
        hooks: Any = {"parse_float": make_number, "parse_constant": make_number}
        hooks["parse_int"] = _whole
        parsed = json.loads(source, object_pairs_hook=make_object, **hooks)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise NotJSON(f"not valid JSON at {where}: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    try:
        ANYTHING.validate_json(source)  # its writer takes no deeper nesting, nor half characters
    except ValidationError as error:
        fault = first_fault(error)
        raise ValueError(f"nested too deeply, or half a character: {fault}") from error
    return parsed


def parse_or_text(source: str) -> Any:
    """Return the JSON value in a text, or the text itself if it is not valid JSON."""
    try:
        return parse(source)
    except ValueError:
        return source


def first_fault(error: ValidationError) -> str:
    """Return the first fault that pydantic found: its place and its message."""
    fault = error.errors()[0]
    where = ".".join(map(str, fault["loc"]))
    return f"{where}: {fault['msg']}" if where else fault["msg"]
