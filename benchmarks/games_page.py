"""Generated parts of a page, each between two comments with its name."""

import re
from pathlib import Path

from ppo.files.atomic import write_whole
from ppo.system.streams import reason


def faults(page: Path, name: str) -> list[str]:
    """Why the page has no place of that name, if it has none."""
    try:
        marks = _place(name).search(page.read_text())
    except (OSError, ValueError) as error:
        return [f"--page={page} cannot be read: {reason(error)}"]
    comments = f"<!-- begin {name} --> and <!-- end {name} -->"
    return [] if marks else [f"{page} has no place for it; put {comments} into it"]


def insert(page: Path, name: str, text: str) -> None:
    """Replace what is in the place of that name."""
    before = page.read_text()
    if (after := inserted(before, name, text)) != before:
        write_whole(page, after.encode())


def inserted(content: str, name: str, text: str) -> str:
    """Return a page's content with other text in the place of that name."""
    return _place(name).sub(lambda place: f"{place[1]}\n\n{text}\n\n{place[2]}", content)


def _place(name: str) -> re.Pattern[str]:
    word = re.escape(name)
    return re.compile(f"(<!-- begin {word} -->).*?(<!-- end {word} -->)", re.DOTALL)
