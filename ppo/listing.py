"""Lists of settings or scalars: readable on a terminal, tab-separated lines anywhere else."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

Entry = tuple[str, str, str]  # name, meaning, and what else is to be known


def show(lines: str, entries: Iterable[Entry], console: Console | None = None) -> None:
    """Print the lines, or on a terminal a table of the entries, legible at 80 columns."""
    console = console or Console()
    if not console.is_terminal:
        print(lines, end="", file=console.file)  # rich would replace the tabs
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, meaning, rest in entries:
        table.add_row(Text(name, "bold"), Text.assemble(meaning, "\n", (rest, "dim"), "\n"))
    console.print(table)
