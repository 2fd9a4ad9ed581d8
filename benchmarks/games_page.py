"""Generated parts of a page, each between two comments with its name."""

import re
from pathlib import Path

from ppo.files.folder import write_whole
from ppo.system.streams import reason


def faults(page: Path, name: str) -> list[str]:
    """Why the page has no place of that name, if it has none."""
    begin, end = _comments(name)
    try:
        found = _place(name).search(page.read_text())
    except (OSError, ValueError) as error:
        return [f"--page={page} cannot be read: {reason(error)}"]
    return [] if found else [f"{page} has no place for it; put {begin} and {end} into it"]


def insert(page: Path, name: str, text: str) -> None:
    """Replace what is in the place of that name."""
    after = inserted(page, name, text)
    if after != page.read_text():
        write_whole(page, after.encode())


def inserted(page: Path, name: str, text: str) -> str:
    """Return the page with other text in the place of that name."""
    begin, end = _comments(name)
    return _place(name).sub(lambda _: f"{begin}\n\n{text}\n\n{end}", page.read_text())


def _comments(name: str) -> tuple[str, str]:
    return f"<!-- begin {name} -->", f"<!-- end {name} -->"


def _place(name: str) -> re.Pattern[str]:
    begin, end = map(re.escape, _comments(name))
    return re.compile(f"{begin}.*?{end}", re.DOTALL)
