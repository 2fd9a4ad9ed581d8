import io
import re
import shlex
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from ppo.envs.factories import factory_name
from ppo.runs.ending import next_steps, summary
from ppo.runs.terminal import SHOWN, TREND, Display, Speed
from ppo.system.streams import note, say, wrapped
from ppo.telemetry.scalars import tags

SCALARS = {
    "rollout/ep_rew_mean": -20.25,
    "rollout/ep_rew_best": -18.0,
    "rollout/games": 12,
    "rollout/ep_len_mean": 912.4,
    "time/fps": 850.0,
    "train/approx_kl": 0.01234,
    "train/clip_fraction": 0.125,
    "train/entropy_loss": -1.625,
    "train/explained_variance": 0.75,
    "train/value_loss": 0.0312,
    "train/grad_norm": 0.4375,
}
VALUES = ("-20.25", "-18", "12", "912", "0.0123", "0.125", "1.625", "0.750", "0.0312", "0.438")
WIDTHS = [60, 80, 140]


def terminal(width: int) -> Console:
    return Console(
        force_terminal=True,
        record=True,
        width=width,
        height=40,
        file=io.StringIO(),
        color_system=None,
        legacy_windows=False,
        _environ={},
    )


def pipe() -> Console:
    return Console(force_terminal=False, width=80, file=io.StringIO(), _environ={})


def text_of(console: Console) -> str:
    """Everything that was printed, without the cursor's movements."""
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


def shown(
    console: Console,
    scalars: dict[str, float],
    step: int = 2048,
    title: str = "PPO",
    rate: float | None = 425.0,
) -> str:
    with Display(title, 10_000_000, console) as display:
        left = rate and (display.total_steps - step) / rate
        display.show(step, scalars, rate and Speed(rate, left), False)
    return text_of(console)


def test_every_shown_tag_is_one_of_the_glossary():
    assert {tag for _, tag, _ in SHOWN} <= set(tags(1, [], []))


# --- into a pipe or a file


def test_into_a_pipe_go_plain_lines_by_the_clock(monkeypatch):
    console, seconds = pipe(), iter([0.0, 4.0, 9.9, 10.0, 12.0, 13.0])
    with Display("PPO", 8_000, console, lambda: next(seconds)) as display:
        for step in range(1000, 7000, 1000):
            display.show(step, SCALARS, Speed(850.0, 11_762), step == 6000)
    printed = console.file.getvalue()
    lines = [line.split(" | ")[0].split(" ", 1) for line in printed.splitlines()]
    assert [line for _, line in lines] == [
        "step 1,000 of 8,000 (12.5 %)",
        "step 4,000 of 8,000 (50.0 %)",
        "step 6,000 of 8,000 (75.0 %)",  # the last one, at any time
    ]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", clock) for clock, _ in lines)
    assert "\x1b" not in printed


def test_line_says_how_far_the_run_is():
    line = shown(pipe(), SCALARS)
    for part in (
        "score -20.25",
        "best -18",
        "games 12",
        "KL 0.0123",
        "425 steps/s | 6 h 32 min left",  # by one clock, not the last entry's
    ):
        assert part in line


def test_line_stays_one_line_however_narrow():
    console = Console(force_terminal=False, width=20, file=io.StringIO(), _environ={})
    assert shown(console, SCALARS).count("\n") == 1


class Halted(io.StringIO):
    """An output that takes nothing, as a terminal after Ctrl-S."""

    def write(self, _: str) -> int:
        threading.Event().wait(600)
        raise AssertionError

    def flush(self) -> None:
        self.write("")


def test_a_run_ends_though_its_output_takes_nothing():
    console = Console(force_terminal=False, file=Halted())
    display = Display("PPO", 10_000, console)
    threading.Thread(target=display.say, args=("it waits",), daemon=True).start()
    ending = threading.Thread(target=display.end, args=("stopped",), daemon=True)
    ending.start()
    ending.join(30)
    assert not ending.is_alive()


def test_message_goes_through_as_it_is():
    console = pipe()
    Display("PPO", 10, console).say("[bold]/runs/[/x] 'a' 12")
    assert console.file.getvalue() == "[bold]/runs/[/x] 'a' 12\n"


def test_message_with_a_word_between_colons_goes_through_as_it_is():
    console = pipe()
    Display("PPO", 10, console).say("runs/:smile:")
    assert console.file.getvalue() == "runs/:smile:\n"


# --- in a terminal


@pytest.fixture
def at_one(monkeypatch):
    """It is one o'clock on the first of January 1970."""
    monkeypatch.setattr("time.time", lambda: 3600.0)
    monkeypatch.setattr("time.localtime", time.gmtime)


@pytest.mark.parametrize("width", WIDTHS)
def test_panel_shows_every_label_and_value(width, at_one):
    printed = shown(terminal(width), SCALARS)
    flat = " ".join(re.sub(r"[│╭╮╰╯─]", " ", printed).split())
    for value in VALUES:
        assert re.search(rf"(^| ){re.escape(value)}( |$)", flat), value
    for label, _, _ in SHOWN:
        assert label.split()[0].rstrip(",") in flat, label
    between = " " if width < 100 else " | "
    assert f"0.0 % | 6 h 32 min left, ends 07:32{between}step 2,048 of 10,000,000 | 425 " in flat


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (None, "? left\n"),
        (10_000_000 / 82_800, "23 h 0 min left, ends 00:00\n"),
        (10_000_000 / 86_400, "1 day 0 h left, ends Fri 02 Jan 1970, 01:00\n"),
    ],
)
def test_panel_says_when_the_run_ends(rate, said, at_one):
    printed = shown(terminal(60), SCALARS, 0, rate=rate)
    assert f"0.0 % | {said}" in re.sub(r" *│\n", "\n", printed)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_label_is_wrapped_and_each_is_near_its_value(width):
    printed = shown(terminal(width), SCALARS)
    for label, _, _ in SHOWN:
        found = re.search(rf"(│ |  ){label}( +)(\S+)", printed)
        assert found and found[3] in VALUES and len(found[2]) < 24, label


@pytest.mark.parametrize("width", WIDTHS)
def test_panel_fits_its_width(width):
    assert max(map(len, shown(terminal(width), SCALARS).splitlines())) <= width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rate", [None, 1e-3])
@pytest.mark.parametrize("scalars", [{}, {"time/fps": 0.0}])
def test_panel_shows_a_dash_for_what_is_not_known_yet(width, scalars, rate):
    assert re.search(r"best game +- ", shown(terminal(width), scalars, rate=rate))


@pytest.mark.parametrize("step", [0, 9_999_999, 10_000_000, 10_000_127])
def test_panel_renders_from_the_first_to_the_last_step(step):
    assert f"step {step:,} of" in shown(terminal(80), SCALARS, step)


def test_a_narrow_panel_names_the_folder():
    title = "PPO · BreakoutNoFrameskip-v4 · runs/BreakoutNoFrameskip-1"
    printed = shown(terminal(60), SCALARS, title=title)
    assert "─ BreakoutNoFrameskip-v4 · runs/BreakoutNoFrameskip-1 ─" in printed


def test_a_panel_shows_how_the_score_went():
    console = terminal(60)
    with Display("PPO", 10_000_000, console) as display:
        for score in [*range(100), float("nan"), 50]:
            display.show(2048, {"rollout/ep_rew_mean": score}, Speed(425.0, 23_525), False)
    last = text_of(console).rpartition("score so far ")[2]
    assert re.match(r"▁+▂+▃+▄+▅+▆+▇+█+▅ ", last) and last.index(" ") == TREND


@pytest.mark.parametrize("title", ["runs/[bold]", "runs/[/x]", "runs/:smile:"])
def test_title_is_shown_as_it_is(title):
    assert title in shown(terminal(80), SCALARS, title=title)


class Screen:
    """What a terminal shows of an output, which moves the cursor as rich does."""

    def __init__(self, width: int):
        self.width, self.lines, self.row, self.column = width, [""], 0, 0

    def feed(self, text: str) -> None:
        for code, character in re.findall(r"\x1b\[([0-9;?]*[A-Za-z])|(.|\n)", text):
            if code.endswith("A"):
                self.row = max(0, self.row - int(code[:-1]))
            elif code == "2K":
                self.lines[self.row] = ""
            elif character == "\r":
                self.column = 0
            elif character == "\n":
                self._down()
            elif character:
                self._write(character)

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        self.lines += [""] * (self.row + 1 - len(self.lines))

    def _write(self, character: str) -> None:
        if self.column == self.width:
            self._down()
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1


@pytest.mark.parametrize("width", WIDTHS)
def test_ctrl_c_leaves_one_border(width):
    console, screen = terminal(width), Screen(width)
    with Display("PPO", 10_000, console) as display:
        display.show(1, SCALARS, Speed(850.0, 11_762), False)
        console.file.write("^C")  # as the terminal does
        display.show(2, SCALARS, Speed(850.0, 11_762), False)
    display.say("stopped")
    screen.feed(console.file.getvalue())
    assert sum("╭" in line for line in screen.lines) == 1
    assert [line for line in screen.lines if line][-1] == "stopped"


LONG = "warning: the word at the end of a line is never cut, however wide the terminal is; see "


@pytest.mark.parametrize("width", WIDTHS)
def test_messages_are_wrapped_at_words_and_commands_are_not(width):
    console, path = terminal(width), f"/tmp/{'x' * 160}.mp4"
    command = f"  continue  run_atari --logdir={path} --resume"
    Display("PPO", 10_000, console).say(f"{LONG}{path}\n{command}")
    lines = text_of(console).splitlines()
    assert " ".join(lines[:-1]) == f"{LONG}{path}" and lines[-1] == command
    assert max(map(len, lines[:-2])) <= width
    assert len(lines) == {60: 4, 80: 4, 140: 3}[width]


def test_message_is_printed_above_the_panel():
    console = terminal(80)
    with Display("PPO", 10_000, console) as display:
        display.show(1, SCALARS, Speed(850.0, 11_762), False)
        display.say("a message")
    printed = text_of(console)
    assert printed.index("a message") < printed.rindex("best game")


# --- an output that fails


class Failing(io.StringIO):
    """Takes some writes, then none."""

    def __init__(self, error: OSError, takes: int):
        super().__init__()
        self.error, self.takes = error, takes

    def write(self, text: str) -> int:
        self.takes -= 1
        if self.takes < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("takes", [0, 1, 2])
@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "I/O error")])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_display_whose_output_fails_is_quiet_from_then_on(error, takes, is_terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    output = Failing(error, takes)
    output.isatty = lambda: is_terminal
    monkeypatch.setattr("sys.stdout", output)
    with Display("PPO", 10_000) as display:
        assert display.console.is_terminal == is_terminal
        for step in range(4):
            display.say("a message")
            display.show(step, SCALARS, Speed(850.0, 11_762), False)
    assert display.console.quiet
    display.say("more")


class Copy:
    """A program's own standard output: it has what Python asks of one, and no more."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error, self.text = error, ""

    def write(self, text: str) -> None:
        if self.error:
            raise self.error
        self.text += text

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("error", [None, OSError(28, "No space left on device")])
def test_a_stream_that_can_only_write_is_not_a_terminal(error, monkeypatch):
    output = Copy(error)
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setattr("sys.stderr", output)
    with Display("PPO", 10_000) as display:
        display.say("a message")
    say("a line")
    note("a note")
    assert output.text == ("" if error else "a message\na line\n")


def test_an_output_of_a_table_codec_lacks_only_what_it_lacks():
    output = io.TextIOWrapper(io.BytesIO(), "iso8859-2")
    say("ż ñ", output)
    assert output.buffer.getvalue().decode("iso8859-2") == "ż ?\n"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_program_whose_output_is_ascii_shows_question_marks(is_terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    output = io.TextIOWrapper(io.BytesIO(), "ascii")
    output.isatty = lambda: is_terminal
    monkeypatch.setattr("sys.stdout", output)
    with Display("PPO · Pong", 10_000) as display:
        display.say("ä")
        display.show(1, SCALARS, None, False)
    say("ö is said")
    text = output.buffer.getvalue().decode("ascii")
    assert "?\n" in text and "? is said" in text
    assert ("PPO ? Pong" in text) == is_terminal


# --- entropy


@pytest.mark.parametrize("make", [pipe, lambda: terminal(80)])
def test_entropy_is_shown_positive(make):
    printed = shown(make(), SCALARS)
    assert re.search(r"entropy +1\.625", printed)
    assert "-1.625" not in printed


def test_entropy_of_zero_has_no_sign():
    # What the mean of entropy losses of exactly 0 is: 0.0 + -0.0.
    assert "-0.000" not in shown(pipe(), SCALARS | {"train/entropy_loss": 0.0})


def test_panel_of_an_odd_number_of_scalars_shows_them_all(monkeypatch):
    monkeypatch.setattr("ppo.runs.terminal.SHOWN", SHOWN[:3])
    text = shown(terminal(100), SCALARS)
    for label, _, _ in SHOWN[:3]:
        assert label in text


# --- the end


TOTALS = {"rollout/ep_rew_mean": 20.125, "rollout/ep_rew_best": 21.0, "rollout/games": 3120}


def next_of(folder: str, watchable: bool = True) -> dict[str, str]:
    return next_steps(Path(folder), "Pong", "--resume", ["total_steps=4001792"], watchable)


@pytest.mark.parametrize(
    ("script", "called"),
    [
        ("run_atari.py", "python run_atari.py"),
        ("../run_atari.py", "python ../run_atari.py"),
        ("/usr/bin/run_atari", "run_atari"),
    ],
)
def test_the_end_says_what_the_run_came_to_where_it_is_and_what_to_do_next(
    script, called, monkeypatch
):
    monkeypatch.setattr("sys.argv", [script])
    more = next_of("runs/pong")
    lines = summary(Path("runs/pong"), TOTALS, 20.77, 1566.0, more).splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["score", "20.12, mean of the last 100 games"],
        ["best", "21 in one of 3,120 games; 20.77 in an evaluation"],
        ["time", "26 min"],
        ["folder", "runs/pong"],
        ["evaluate", f"{called} --logdir=runs/pong --evaluate 30"],
        ["watch", f"{called} --logdir=runs/pong --watch"],
        ["board", f"{called} --logdir=runs/pong --board"],
        [
            "continue",
            f"{called} --logdir=runs/pong --resume --set total_steps=4001792",
        ],
    ]
    assert max(map(len, lines[:-1])) <= 85


def test_the_time_of_a_resumed_run_is_the_time_of_all_starts():
    said = summary(Path("a"), TOTALS, None, 1566.0, {}, resumed=True)
    assert "  time      26 min in all\n" in said


def test_the_end_of_a_run_without_games_evaluations_and_images():
    more = next_of("a", watchable=False)
    lines = summary(Path("a"), {"rollout/games": 0}, None, 30.0, more).splitlines()
    labels = [line.split()[0] for line in lines]
    assert labels == ["score", "time", "folder", "evaluate", "board", "continue"]
    assert "no game has ended" in lines[0]


def test_a_run_of_a_function_is_continued_from_python():
    folder, env_id = Path("runs/walk"), "factory/Walk-1-v0"
    totals = TOTALS | {"rollout/ep_rew_best": -2.586311936}
    more = next_steps(folder, env_id, "--resume", ["total_steps=400"])
    lines = summary(folder, totals, None, 1, more)
    said = dict(line.split(maxsplit=1) for line in lines.splitlines())
    assert said["evaluate"] == "ppo.load('runs/walk', env=Walk).evaluate(30)"
    assert said["continue"] == "ppo.train.resume('runs/walk', ['total_steps=400'], env=Walk)"
    assert said["best"].startswith("-2.59 in")
    assert factory_name("factory/walk2-v0") == "walk2"
    assert factory_name("factory/lambda-v0") == "FUNCTION"
    more = next_steps(folder, env_id, "--resume")
    assert more["continue"] == "ppo.train.resume('runs/walk', env=Walk)"


def test_the_next_commands_can_be_pasted_into_a_shell():
    folder = "runs/it's a $HOME"
    *_, board, again = summary(Path(folder), TOTALS, None, 1.0, next_of(folder)).splitlines()
    assert f"--logdir={folder}" in shlex.split(board)
    assert shlex.split(again)[-3:] == ["--resume", "--set", "total_steps=4001792"]


def test_a_terminal_that_does_not_say_its_width_gets_lines_of_80_columns():
    assert wrapped("word " * 20, 0) == wrapped("word " * 20, 80)
