"""How the drills are reported; what they do is in tests/test_reliability.py."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ppo.drill import __main__ as drill


def kept(folder: Path) -> str:
    assert folder.is_dir()
    return "as :x: [promised]"


def broken(folder: Path) -> str:
    drill.expect(False, otherwise="it took 11 s")
    return "never said"


def failing(folder: Path) -> str:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("drills", "code", "rows"),
    [
        (
            [kept, broken, failing],
            1,
            [
                "1 kept   kept (0 s): as :x: [promised]",
                "2 BROKEN broken (0 s): AssertionError: it took 11 s",
                "3 BROKEN failing (0 s): OSError: [Errno 28] No space left on device",
            ],
        ),
        ([kept, kept], 0, [f"{n} kept   kept (0 s): as :x: [promised]" for n in (1, 2)]),
    ],
)
def test_each_drill_has_a_row_and_one_that_is_broken_fails_all(
    drills, code, rows, monkeypatch, capsys
):
    monkeypatch.setattr(drill, "DRILLS", tuple((each.__name__, each) for each in drills))
    assert drill.main([]) == code
    assert capsys.readouterr().out.splitlines() == rows


def test_a_folder_that_cannot_be_made_or_removed_ends_no_other_drill(monkeypatch, capsys):
    class Full(TemporaryDirectory):
        """One that is made on a full disk."""

        def __init__(self, prefix: str):
            raise OSError(28, "No space left on device")

    class InUse(TemporaryDirectory):
        """One that a process still writes into."""

        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            raise OSError(39, "Directory not empty")

    folders = iter([Full, InUse, TemporaryDirectory])
    monkeypatch.setattr(drill.tempfile, "TemporaryDirectory", lambda prefix: next(folders)(prefix))
    monkeypatch.setattr(drill, "DRILLS", (("first", kept), ("second", kept), ("third", kept)))
    assert drill.main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "1 BROKEN first (0 s): OSError: [Errno 28] No space left on device",
        "2 BROKEN second (0 s): OSError: [Errno 39] Directory not empty",
        "3 kept   third (0 s): as :x: [promised]",
    ]
