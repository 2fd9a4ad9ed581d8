"""Lists on a terminal and in a pipe."""

import io

from rich.console import Console

from ppo import described, listing
from ppo.files import scalars


def shown(text: str, entries: list, width: int, terminal: bool) -> str:
    out = io.StringIO()
    listing.show(text, entries, Console(file=out, force_terminal=terminal, width=width))
    return out.getvalue()


def test_a_pipe_has_the_lines_and_nothing_else():
    lines = described.text()
    assert shown(lines, described.entries(), 80, terminal=False) == lines


def test_a_terminal_of_80_columns_has_every_name_whole_and_no_longer_line():
    for entries in (described.entries(), scalars.entries()):
        out = io.StringIO()
        listing.show("", entries, Console(file=out, force_terminal=True, width=80, no_color=True))
        plain = Console(file=io.StringIO(), width=80)
        lines = [plain.render_str(line).plain for line in out.getvalue().splitlines()]
        assert all(any(name in line for line in lines) for name, *_ in entries)
