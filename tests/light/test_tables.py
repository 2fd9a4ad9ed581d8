"""Lists on a terminal and in a pipe."""

import io

from rich.console import Console

from ppo.settings import describe
from ppo.system import tables
from ppo.telemetry import scalars


def shown(text: str, entries: list, width: int, terminal: bool) -> str:
    out = io.StringIO()
    tables.show_list(entries, text, Console(file=out, force_terminal=terminal, width=width))
    return out.getvalue()


def test_a_pipe_has_the_lines_and_nothing_else():
    lines = describe.text()
    assert shown(lines, describe.entries(), 80, terminal=False) == lines


def test_markdown_has_a_side_for_each_column_and_escapes_bars():
    assert tables.markdown(["a", "b", "c"], [["x|y", "1", "z"]], "lr") == (
        "| a | b | c |\n| --- | --: | --- |\n| x\\|y | 1 | z |\n"
    )


def test_a_terminal_of_80_columns_has_every_name_whole_and_no_longer_line():
    for entries in (describe.entries(), scalars.entries()):
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, width=80, no_color=True)
        tables.show_list(entries, console=console)
        plain = Console(file=io.StringIO(), width=80)
        lines = [plain.render_str(line).plain for line in out.getvalue().splitlines()]
        assert all(any(name in line for line in lines) for name, *_ in entries)


def test_a_terminal_shows_brackets_and_colons_of_a_name_as_they_are():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system=None)
    tables.show_table(["game[/b]", "x[y]"], [["lr[decay] :x:", "[/b]"]], console)
    for text in ("game[/b]", "x[y]", "lr[decay] :x:", "[/b]"):
        assert text in out.getvalue()


def test_scalars_without_unit_or_remedy_leave_no_gap():
    assert any(not metric.unit for metric in scalars.METRICS)
    assert any(not metric.remedy for metric in scalars.METRICS)
    for _, meaning, advice in scalars.entries():
        assert "()" not in meaning and not advice.endswith((": ", "; "))
