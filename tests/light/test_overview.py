"""The table of runs side by side."""

import json
import os
import sys
from contextlib import ExitStack

from rich.console import Console

from ppo.files import origin
from ppo.files.folder import RunFolder
from ppo.files.origin import Origin
from ppo.sweep.grid import Run
from ppo.sweep.overview import Overview
from ppo.sweep.parallel import run_all
from ppo.system.children import Children


def run_at(folder, name: str, step: int, score: str = "1.5") -> Run:
    """A run whose log ends at a step."""
    run = Run(name, 1, (), folder / name)
    run.folder.mkdir()
    sizes = {"num_envs": 10, "num_steps": 10, "num_minibatches": 10}
    RunFolder(run.folder).params.write_text(json.dumps({"total_steps": 10_000, **sizes}))
    rows = ["step,rollout/ep_rew_mean,time/fps", "64,,1", f"{step},{score},500"]
    RunFolder(run.folder).progress.write_text("\n".join(rows) + "\n")
    return run


def shown(overview: Overview, console: Console) -> list[str]:
    """The lines, with single spaces."""
    with console.capture() as capture:
        console.print(overview)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_table_has_the_runs_under_way_and_counts_the_others(tmp_path):
    runs = [run_at(tmp_path, "one", 4_000), run_at(tmp_path, "two", 5_000, score="")]
    new = Run("new", 1, (), tmp_path / "new")
    broken = run_at(tmp_path, "broken", 4_000)
    RunFolder(broken.folder).params.write_text("[]")
    console = Console(width=80, height=24)
    overview = Overview([*runs, new, broken, new, new, new], console)
    contexts = ExitStack()
    for run in (*runs, new, broken):
        contexts.enter_context(overview.under_way(run))
    with contexts:
        overview.count_end(run_at(tmp_path, "best", 10_000, score="2"), False)
        overview.count_end(Run("lost", 1, (), tmp_path / "lost"), True)
        lines = shown(overview, console)
    assert lines == [
        "2 of 7 done (1 failed), 1 waiting, about 25 s left",
        "run seed done score steps/s left",
        "best 1 done 2.00",
        "one 1 40% 1.50 500 12 s",
        "two 1 50% - 500 10 s",
        "new 1 - - - -",
        "broken 1 - - - -",
        "lost 1 failed -",
    ]
    assert "two" not in " ".join(shown(overview, console))


def test_numbers_keep_their_place_beside_a_long_name(tmp_path):
    name = "learning_rate=0.00025, clip_range=0.1, value_rescaling=per_state"
    console = Console(width=80, height=24)
    run = run_at(tmp_path, name, 4_000)
    overview = Overview([run], console)
    with overview.under_way(run):
        line = shown(overview, console)[-1]
    assert line.startswith("learning_rate=0") and "…" in line  # both ends are shown
    assert line.endswith("value_rescaling=per_state"[-15:] + " 1 40% 1.50 500 12 s")


def test_a_run_is_shown_with_all_steps_of_its_rollouts(tmp_path):
    run = run_at(tmp_path, "one", 4_096)
    settings = {"total_steps": 10_000, "num_envs": 8, "num_steps": 128}
    RunFolder(run.folder).params.write_text(json.dumps(settings))
    console = Console(width=80, height=24)
    overview = Overview([run], console)
    with overview.under_way(run):
        assert shown(overview, console)[-1] == "one 1 40% 1.50 500 12 s"


def test_a_fork_has_only_its_own_steps(tmp_path):
    run = run_at(tmp_path, "one", 4_000)
    origin.write(RunFolder(run.folder), Origin(tmp_path / "from", 3_000))
    console = Console(width=80, height=24)
    overview = Overview([run, Run("new", 1, (), tmp_path / "new")], console)
    with overview.under_way(run):
        lines = shown(overview, console)
    assert lines[-1] == "one 1 14% 1.50 500 12 s" and "about 26 s left" in lines[0]


def test_a_run_that_logged_an_evaluation_alone_has_a_score(tmp_path):
    run = run_at(tmp_path, "one", 4_000)
    with RunFolder(run.folder).progress.open("a") as log:
        log.write("4000,2.5,\n")
    console = Console(width=80, height=24)
    overview = Overview([run], console)
    with overview.under_way(run):
        assert shown(overview, console)[-1] == "one 1 40% 2.50 - -"


def test_a_low_terminal_has_as_many_rows_as_fit(tmp_path):
    runs = [run_at(tmp_path, f"run-{number}", 4_000) for number in range(12)]
    console = Console(width=80, height=10)
    overview = Overview(runs, console)
    with ExitStack() as contexts:
        for run in runs:
            contexts.enter_context(overview.under_way(run))
        lines = shown(overview, console)
    assert len(lines) < 10
    assert lines[0].startswith("0 of 12 done, 0 waiting") and lines[-1] == "and 6 more"
    for score, run in enumerate(runs[:10]):
        overview.count_end(run_at(run.folder, "ended", 10_000, score=str(score)), False)
    with overview.under_way(runs[-1]):
        lines = shown(overview, console)
    rows = ["ended 1 done 9.00", "ended 1 done 8.00", "ended 1 done 7.00", "ended 1 done 6.00"]
    assert lines[2:-1] == [*rows, "ended 1 done 5.00", "run-11 1 40% 1.50 500 12 s"]
    assert lines[-1] == "and 5 more"


def test_a_terminal_has_the_table_below_the_lines_and_a_pipe_the_lines_alone(
    tmp_path, monkeypatch, capsys
):
    runs = [run_at(tmp_path, name, 4_000) for name in ("one", "two")]

    def make_all() -> str:
        run_all(runs, 1, Children(), lambda _: False, lambda *_: 0)
        return capsys.readouterr().out

    RunFolder(runs[1].folder).progress.unlink()
    lines = [f"one, seed 1: {said}" for said in ("resumes", "done")]
    lines += [f"two, seed 1: {said}" for said in ("begins", "done")]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert make_all().splitlines() == lines
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    said = make_all()
    assert all(line in said for line in lines)
    assert said.rindex("of 2 done") > said.rindex(lines[-1])


def test_runs_are_made_even_if_nobody_reads_the_lines(tmp_path, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    made = []
    with open(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        runs = [Run(name, 1, (), tmp_path / name) for name in ("one", "two")]
        run_all(runs, 1, Children(), lambda _: False, lambda run, _: made.append(run) or 0)
    assert made == runs
