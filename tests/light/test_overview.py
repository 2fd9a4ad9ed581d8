"""The table of runs side by side."""

import json

import pytest
from rich.console import Console

from ppo.files.folder import RunFolder
from ppo.study.command import Children
from ppo.study.grid import Run
from ppo.study.overview import Overview, last_row
from ppo.study.parallel import run_all


def run_at(folder, name: str, step: int, score: str = "1.5") -> Run:
    """A run whose log ends at a step."""
    run = Run(name, 1, (), folder / name)
    run.folder.mkdir()
    RunFolder(run.folder).params.write_text(json.dumps({"total_steps": 10_000}))
    rows = ["step,rollout/ep_rew_mean,time/fps", "64,,1", f"{step},{score},500"]
    RunFolder(run.folder).progress.write_text("\n".join(rows) + "\n")
    return run


def shown(overview: Overview) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(overview.table())
    return capture.get()


def test_table_has_the_runs_under_way_and_counts_the_others(tmp_path):
    runs = [run_at(tmp_path, "one", 4_000), run_at(tmp_path, "two", 5_000, score="")]
    new = Run("new", 1, (), tmp_path / "new")
    overview = Overview([*runs, new, new, new, new])
    with overview.of(runs[0]), overview.of(runs[1]), overview.of(new):
        overview.count(False)
        overview.count(True)
        lines = [line.split() for line in shown(overview).splitlines()]
    assert lines[1:4] == [
        ["one,", "seed", "1", "4,000", "10,000", "1.50", "500", "0:00:12"],
        ["two,", "seed", "1", "5,000", "10,000", "-", "500", "0:00:10"],
        ["new,", "seed", "1", "-", "-", "-", "-", "-"],
    ]
    assert " ".join(lines[4]) == "2 of 6 runs have ended, 1 wait, 1 failed"
    assert "one" not in shown(overview)


def test_a_row_that_is_being_written_is_not_read(tmp_path):
    path = tmp_path / "progress.csv"
    path.write_text("step,a\n1,2\n")
    assert last_row(path) == {"step": "1", "a": "2"}
    path.write_text("step,a\n1,2\n3,")
    assert last_row(path) == {"step": "1", "a": "2"}
    long = "".join(f"{step},{step * 10}\n" for step in range(20_000))
    path.write_text("step,a\n" + long)
    assert last_row(path) == {"step": "19999", "a": "199990"}
    path.write_text("step,a\n")
    with pytest.raises(ValueError, match="no row yet"):
        last_row(path)


def test_a_terminal_has_the_lines_above_the_table_and_a_pipe_the_lines_alone(
    tmp_path, monkeypatch, capsys
):
    runs = [run_at(tmp_path, name, 4_000) for name in ("one", "two")]

    def make_all() -> str:
        run_all(runs, 1, Children(), lambda _: False, lambda *_: 0)
        return capsys.readouterr().out

    lines = [f"{name}, seed 1: {said}" for name in ("one", "two") for said in ("begins", "done")]
    assert make_all().splitlines() == lines
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = make_all()
    assert "of 2 runs have ended" in said and all(line in said for line in lines)
