"""Generated parts of a page, each between two comments with its name."""

import re
from pathlib import Path

from ppo.files.folder import write_whole
from ppo.params import ParamsError


def check(page: Path, name: str) -> None:
    """Raise ParamsError unless the page has a place of that name."""
    if not _place(name).search(page.read_text()):
        begin, end = _comments(name)
        raise ParamsError([f"{page} has no place for it; put {begin} and, below, {end} into it"])


def insert(page: Path, name: str, text: str) -> None:
    """Replace what is in the place of that name. Raises ParamsError if there is none."""
    check(page, name)
    begin, end = _comments(name)
    before = page.read_text()
    after = _place(name).sub(lambda _: f"{begin}\n\n{text}\n\n{end}", before)
    if after != before:
        write_whole(page, after.encode())


def _comments(name: str) -> tuple[str, str]:
    return f"<!-- begin {name} -->", f"<!-- end {name} -->"


def _place(name: str) -> re.Pattern[str]:
    begin, end = map(re.escape, _comments(name))
    return re.compile(f"{begin}.*?{end}", re.DOTALL)
