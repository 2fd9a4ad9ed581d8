"""Tables: readable on a terminal, tab-separated lines anywhere else, and as Markdown."""

import sys
from collections.abc import Iterable, Sequence

from rich.box import HEAVY_HEAD, Box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ppo.system.streams import is_terminal, say

Entry = tuple[str, str, str]  # name, meaning, and other information


def tabs(rows: Iterable[Sequence[str]]) -> str:
    """Write a line for each row, its cells separated by tabs."""
    return "".join("\t".join(row) + "\n" for row in rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """Return a Markdown table. ``align`` has an "r" for each right-aligned column, and an "l" for
    any other. Columns beyond its end are left-aligned.
    """
    rules = ["--:" if side == "r" else "---" for side in align.ljust(len(head), "l")]
    cells = [[cell.replace("|", r"\|") for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |\n" for row in (cells[0], rules, *cells[1:])]
    return "".join(lines)


def console_of(stderr: bool = False, kind: type[Console] = Console) -> Console:
    """Return a console of a standard stream. A pipe or a file is not a terminal, even if the user
    has set FORCE_COLOR.
    """
    stream = sys.stderr if stderr else sys.stdout
    return kind(stderr=stderr, force_terminal=None if is_terminal(stream) else False)


def show_page(text: str) -> None:
    """Print a page of Markdown: on a terminal as it is meant, elsewhere as it is written."""
    console = console_of()
    if console.is_terminal:
        from rich.markdown import Markdown  # here, to save every other start 0.05 s

        console.print(Markdown(text))
    else:
        say(text.rstrip("\n"))


def show_list(entries: Iterable[Entry], lines: str = "", console: Console | None = None) -> None:
    """Print the lines, by default the entries' own. A terminal gets a table of the entries, legible
    at 80 columns.
    """
    console = console or console_of()
    if not console.is_terminal:
        print(lines or tabs(entries), end="", file=console.file)  # rich would replace the tabs
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, meaning, rest in entries:
        table.add_row(Text(name, "bold"), Text.assemble(meaning, "\n", (rest, "dim"), "\n"))
    console.print(table)


def show_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    console: Console,
    box: Box | None = HEAVY_HEAD,
) -> None:
    """Print rows under a head: on a terminal a table, legible at 80 columns. Without a box it needs
    less width.
    """
    if not console.is_terminal:
        print(tabs([head, *rows]), end="", file=console.file)  # rich would replace the tabs
        return
    table = Table(box=box, pad_edge=box is not None)
    first, *others = map(Text, head)  # rich would read the brackets of a plain text as markup
    table.add_column(first, overflow="fold")  # the only column that shrinks
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
