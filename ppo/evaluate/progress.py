"""Show the progress of a command that takes minutes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

Note = Callable[[int], None]

TERMINAL_EVERY = 60


@contextmanager
def progress(what: str, count: str, every: int, console: Console) -> Iterator[Note]:
    """Show an activity and its progress while the context lasts. ``count`` is the format of the
    number passed to each call. A terminal shows one line that changes. A pipe or a file gets a line
    at the start and one at each multiple of ``every``; on stderr it gets none.
    """
    if console.is_terminal:
        with console.status(Text(what)) as status:

            def show(number: int) -> None:
                if number % TERMINAL_EVERY == 0:
                    status.update(Text(f"{what}: {count.format(number)}"))

            yield show
        return

    def say(line: str) -> None:
        if not console.stderr:
            print(line, file=console.file, flush=True)

    def write(number: int) -> None:
        if number % every == 0:
            say(f"{what}: {count.format(number)}")

    say(what)
    yield write
