"""Files that anyone may have written: what is refused, and that no read waits for ever."""

import os
import socket
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from ppo.system import reading
from ppo.system.reading import Unreadable

FORM = TypeAdapter(dict[str, int])


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as place:
        place.bind(str(path))


NO_FILES = {
    "fifo": os.mkfifo,
    "folder": os.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/ptmx"),
    "socket": bound,
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "huge": lambda path: path.write_bytes(b"") or os.truncate(path, 2**40),
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize(
    "read", [reading.content, reading.text, lambda path: reading.value(path, FORM)]
)
def test_what_is_not_a_regular_file_of_a_limited_size_is_refused_at_once(tmp_path, make, read):
    path = tmp_path / "file"
    make(path)
    with pytest.raises(Unreadable) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value).splitlines()) == 1


def test_a_fifo_that_takes_the_place_of_a_file_meanwhile_does_not_block(tmp_path, monkeypatch):
    path, other = tmp_path / "file", tmp_path / "other"
    os.mkfifo(path)
    other.touch()
    before = os.stat(other)
    monkeypatch.setattr(reading.os, "stat", lambda _: before)
    with pytest.raises(Unreadable, match="not a regular file"):
        reading.content(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"a": ' * 40 + b"1" + b"}" * 40,
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": "\xff"}',
        rb'{"\ud800": 1}',
        b'{"a": null}',
        b"null",
        b"[1]",
    ],
    ids=lambda content: str(content[:20]),
)
def test_json_that_is_unsound_or_of_another_form_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Unreadable) as caught:
        reading.value(tmp_path / "file", FORM)
    assert len(str(caught.value).splitlines()) == 1


def test_sound_json_is_read_with_a_byte_order_mark_and_any_line_ends(tmp_path):
    (tmp_path / "file").write_bytes(b'\xef\xbb\xbf{\r\n"\xc3\xa9": 1}\r\n')
    assert reading.value(tmp_path / "file", FORM) == {"é": 1}


def test_a_line_that_is_not_of_the_form_does_not_take_the_others_with_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b'{"a": 1}\r\n{"a": \xff}\n[]\n{"a": NaN}\n\n{"b": 2}\n{"c')
    found, faults = reading.lines(path, FORM)
    assert found == [{"a": 1}, {"b": 2}]
    assert [fault.split(":")[0] for fault in faults] == [f"line {n}" for n in (2, 3, 4, 7)]


def test_what_is_not_there_is_not_a_fault(tmp_path):
    reading.check(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        reading.content(tmp_path / "file")
