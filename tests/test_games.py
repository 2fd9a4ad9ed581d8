"""The table of many games: real runs that are resumed, and how runs are read, counted and shown."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import games, games_markdown, games_page, games_store, measured
from benchmarks.games_results import CURVE_POINTS, curve_of, read, seconds_of
from ppo import checkpoint, presets
from ppo.files.folder import RunFolder
from ppo.files.lock import owned
from ppo.params import ParamsError
from ppo.settings import Params
from ppo.settings.fields import CHOICES
from ppo.system import children
from ppo.telemetry.scalars import SCORE, TIME
from tests.forked import start_with_log

ROOT = Path(__file__).parents[1]
SMALL = ["--games=CartPole-v1", "--steps=512", "--set", "num_steps=32"]


def test_a_run_is_resumed_evaluated_shown_and_not_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(children, "start", start_with_log)
    arguments = [*SMALL, f"--logdir={tmp_path}"]
    (run,) = games.plan(games.parse(arguments))
    assert games.main(arguments) == 0
    # As if it had been stopped before its end.
    (RunFolder(run.folder).checkpoints / "step-000000000512.ckpt").unlink()
    run.log.unlink()
    assert checkpoint.newest(RunFolder(run.folder)).step == 0
    printed = capsys.readouterr().out
    assert "CartPole-v1, seed 1: begins" in printed and "CartPole-v1, seed 1: done" in printed

    assert games.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "CartPole-v1, seed 1: resumes" in printed and "CartPole-v1, seed 1: done" in printed
    assert checkpoint.newest(RunFolder(run.folder)).step == 512
    said = run.log.read_text()
    assert "step 512 of 512" in said and "greedy" in said
    ((result,), missing) = read(tmp_path)
    assert (result.game, result.seed, result.steps, missing) == ("CartPole-v1", 1, 512, [])
    assert {name: len(scores) for name, scores in result.scores.items()} == {
        "sampled": 30,
        "greedy": 30,
    }
    assert "| CartPole-v1 | 1 | " in (tmp_path / "games.md").read_text()

    assert games.main(arguments) == 0
    assert "CartPole-v1, seed 1: was done already" in capsys.readouterr().out
    assert run.log.read_text() == said

    with owned(tmp_path):
        assert games.main(arguments) == 2
        assert "is in use by another process" in capsys.readouterr().err
        assert games.main(["--only-table", f"--logdir={tmp_path}"]) == 0

    changed = [*SMALL, "--set", "gamma=0.9", f"--logdir={tmp_path}"]
    (other,) = games.plan(games.parse(changed))
    shutil.copytree(run.folder, other.folder)
    assert games.main(changed) == 2
    assert "holds a run with another gamma than 0.9" in capsys.readouterr().err


def test_runs_that_leave_the_precision_open_get_the_same_one(
    tmp_path, monkeypatch, computes_in_bfloat16
):
    begun = []
    monkeypatch.setattr(games, "go", lambda run, call: begun.append(run) or 0)
    arguments = ["--games=Pong", "--steps=1024", "--set=precision=auto", f"--logdir={tmp_path}"]
    games.main(arguments)
    assert [run.params.precision for run in begun] == ["bfloat16"]


def test_runs_of_one_table_have_the_same_settings(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(games, "go", lambda run, call: 0)
    pfile = tmp_path / "mine.json"
    pfile.write_text('{"network": "mlp", "gamma": 0.9}')
    arguments = ["--steps=512", f"--pfile={pfile}", f"--logdir={tmp_path / 'runs'}"]
    (run,) = games.plan(games.parse([*arguments, "--games=CartPole-v1"]))
    run.folder.mkdir(parents=True)
    (run.folder / "params.json").write_text(run.params.to_json())
    other = [*arguments, "--games=Acrobot-v1", "--seeds=2"]
    assert games.main(other) == 0
    (copy,) = run.folder.parent.glob("settings-*.json")
    assert json.loads(copy.read_text())["gamma"] == 0.9
    pfile.write_text('{"network": "mlp", "gamma": 0.8}')
    assert games.main(other) == 2
    said = capsys.readouterr().err
    assert "CartPole-v1-1, which would be in the same table, has another gamma than 0.8" in said


def fabricate(folder: Path, seconds: float, sampled: float, greedy: float, games: int = 30):
    """What a finished run leaves that the table reads: its last row, its evaluations."""
    folder.mkdir(parents=True)
    (folder / "progress.csv").write_text(f"step,time/time_elapsed\n1024,1\n2048,{seconds}\n")
    lines = [
        {"step": 2048, "policy": name, "seed": 1, "scores": [score] * games}
        | {"mean": score, "low": score, "high": score}
        for name, score in (("sampled", sampled), ("greedy", greedy))
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "evaluations.jsonl").write_text(text + '{"step": 20')


def test_the_median_over_57_games_is_predicted_where_the_five_are_there(tmp_path):
    # Random play and a human in each, except that Qbert's greedy policy is half as good.
    five = {
        "BattleZone": (2360.0, 37187.5),
        "DoubleDunk": (-18.6, -16.4),
        "NameThisGame": (2292.3, 8049.0),
        "Phoenix": (761.4, 7242.6),
        "Qbert": (163.9, 13455.0),
    }
    for game, (random, human) in five.items():
        greedy = random if game == "Qbert" else human
        fabricate(tmp_path / "2000-steps_defaults" / f"{game}-1", 60, human, greedy)
    assert games.main(["--only-table", f"--logdir={tmp_path}"]) == 0
    # (101 ** 0.96531 - 1) / 100, and without Qbert's 0.08049 of it.
    line = "| median of 57 games, predicted | 0.85 | 0.58 |"
    assert line in (tmp_path / "games.md").read_text()


def test_table_of_two_games_by_hand(tmp_path):
    runs = tmp_path / "2000-steps_defaults"
    # Pong's random play has -20.7, its human 14.6; Breakout's 1.7 and 30.5.
    fabricate(runs / "Pong-1", 60, 14.6, -20.7)
    fabricate(runs / "Pong-2", 120, -20.7, -20.7)
    fabricate(runs / "Breakout-1", 30, 30.5, 1.7)
    fabricate(tmp_path / "2000-steps_Stable-Baselines3" / "Pong-1", 600, 14.6, 14.6)
    fabricate(tmp_path / "1000-steps_Stable-Baselines3" / "ALE_Pong-v5-1", 600, 14.6, 14.6)
    fabricate(runs / "Breakout-2", 30, 30.5, 1.7, games=10)
    fabricate(tmp_path / "4000-steps_defaults" / "Breakout-1", 30, 30.5, 1.7)
    (runs / "Pong-1.log").touch()
    fabricate(runs / "Pong-4", 60, 0.0, 0.0)
    (runs / "Pong-4" / "params.json").write_text('{"env_id": "Pong')
    fabricate(runs / "Pong-3", 60, 0.0, 0.0)
    (runs / "Pong-3" / "params.json").write_text(
        '{"env_id": "PongNoFrameskip-v4", "precision": "bfloat16"}'
    )

    assert games.main(["--only-table", f"--logdir={tmp_path}"]) == 0
    text = (tmp_path / "games.md").read_text()
    assert (
        "| Breakout | 1 | 30.5 | 1.00 | 1.7 | 1 | 0.00 | 0.5 |\n"
        "| Pong | 1, 2 | -3.0 (-227.3 to 221.2) | 0.50 | -20.7 | 1, 1 | 0.00 | 1.5 |\n"
    ) in text
    # Breakout has a single run, so the spread of its runs is unknown.
    assert "| mean | 0.75 | 0.00 |" in text and "several seeds" not in text
    assert "| Stable-Baselines3 | float32 | 2,000 | 1 | 1 | 1.00 | 1.00 | 1.00 |" in text
    assert "| ALE_Pong-v5 | 1 | 14.6 | 1.00 |" in text
    assert "### defaults, bfloat16, 2,000 steps" in text
    unfinished = [
        "2000-steps_defaults/Breakout-2",
        "2000-steps_defaults/Pong-4",
        "4000-steps_defaults/Breakout-1",
    ]
    assert text.endswith("\n".join(["Not finished:", "", *(f"- {one}" for one in unfinished), ""]))

    content = json.loads((tmp_path / "games.json").read_text())
    kinds = [(table["settings"], table["precision"]) for table in content["tables"]]
    ours = content["tables"][kinds.index(("defaults", "float32"))]
    assert ours["over"]["games"] == ["Breakout", "Pong"]
    assert ours["over"]["estimates"]["sampled"]["median"] == {"value": 0.75, "interval": None}
    assert len(content["runs"]) == 6


def test_a_run_that_was_continued_has_the_score_and_the_minutes_of_its_own_steps(tmp_path):
    run = tmp_path / "2000-steps_defaults" / "CartPole-v1-1"
    fabricate(run, 60, 20, 30)
    params = Params(env_id="CartPole-v1", network="mlp", num_envs=8, num_steps=128)
    (run / "params.json").write_text(params.to_json())
    later = [
        {"step": 4096, "policy": name, "seed": 1, "scores": [400.0] * 30, "mean": 400}
        for name in CHOICES
    ]
    stored = run / "evaluations.jsonl"
    stored.write_text("".join(f"{json.dumps(line)}\n" for line in later) + stored.read_text())
    with open(run / "progress.csv", "a") as log:
        log.write("4096,600\n")
    (result,), _ = read(tmp_path)
    assert (result.scores["sampled"], result.minutes, result.steps) == ([20.0] * 30, 1, 2048)
    stored.write_text("".join(f"{json.dumps(line)}\n" for line in later))
    assert read(tmp_path) == ([], ["2000-steps_defaults/CartPole-v1-1"])


def test_games_with_several_runs_have_intervals_of_their_own(tmp_path):
    runs = tmp_path / "2000-steps_defaults"
    fabricate(runs / "Pong-1", 60, 14.6, -20.7)
    fabricate(runs / "Pong-2", 60, -20.7, -20.7)
    fabricate(runs / "Breakout-1", 60, 30.5, 1.7)
    fabricate(runs / "Breakout-2", 60, 30.5, 1.7)
    fabricate(runs / "Qbert-1", 60, 163.9, 163.9)
    assert games.main(["--only-table", f"--logdir={tmp_path}"]) == 0
    text = (tmp_path / "games.md").read_text()
    of_all, of_several = text.split("| of the 2 games with several seeds, human-normalised |")
    assert "| mean | 0.50 | 0.00 |" in of_all
    assert "| mean | 0.75 (0.50 to 1.00) | 0.00 |" in of_several
    (table,) = json.loads((tmp_path / "games.json").read_text())["tables"]
    assert table["repeated"]["games"] == ["Breakout", "Pong"]


def test_games_that_several_kinds_of_settings_have_are_side_by_side(tmp_path):
    fabricate(tmp_path / "2000-steps_defaults" / "Pong-1", 60, 14.6, -20.7)
    fabricate(tmp_path / "2000-steps_defaults" / "Pong-2", 120, 14.6, -20.7)
    fabricate(tmp_path / "2000-steps_defaults" / "Breakout-1", 30, 30.5, 1.7)
    fabricate(tmp_path / "2000-steps_defaults" / "Qbert-1", 30, 30.5, 1.7)
    fabricate(tmp_path / "2000-steps_a" / "Breakout-1", 30, 1.7, 30.5)
    fabricate(tmp_path / "2000-steps_b" / "Pong-1", 600, -20.7, -20.7)
    fabricate(tmp_path / "1000-steps_a" / "Breakout-1", 30, 1.7, 30.5)
    assert games.main(["--only-table", f"--logdir={tmp_path}"]) == 0
    text = (tmp_path / "games.md").read_text()
    assert text.count("side by side") == 1
    sections = re.findall(r"^### (\w+), float32, ([\d,]+) steps$", text, re.MULTILINE)
    assert sections == [("a", "2,000"), ("b", "2,000"), ("defaults", "2,000"), ("a", "1,000")]
    part = text.partition("### 2,000 steps, side by side")[2].partition("###")[0]
    assert [line for line in part.splitlines() if line.startswith("|")] == [
        "| game | a, float32 | b, float32 | defaults, float32 |",
        "| --- | --- | --- | --- |",
        "| Breakout | 1.7, 0 min | - | 30.5, 0 min |",
        "| Pong | - | -20.7, 10 min | 14.6, 2 min, 2 runs |",
    ]


def test_results_of_several_machines_add_up_to_one_table(tmp_path):
    store = tmp_path / "games.jsonl"
    for machine, game in (("one", "Pong-1"), ("two", "Pong-2")):
        runs = tmp_path / machine / "2000-steps_defaults"
        fabricate(runs / game, 60, 14.6, -20.7)
        if machine == "two":  # run here, too: the first one counts
            fabricate(runs / "Pong-1", 600, -20.7, -20.7)
        arguments = ["--only-table", f"--logdir={runs.parent}", f"--results={store}"]
        assert games.main([*arguments, f"--machine={machine}"]) == 0
    text = (tmp_path / "two" / "games.md").read_text()
    assert "| Pong | 1, 2 | 14.6 | 1.00 | -20.7 | 1, 1 | 0.00 | 1.0 |" in text
    assert text.count("- one, 2") == text.count("- two, 2") == 1
    assert ": Pong 1\n" in text and text.endswith(": Pong 2\n")
    assert len(store.read_text().splitlines()) == 2


def test_a_run_that_the_results_have_with_other_scores_is_reported_and_stays(tmp_path, capsys):
    store = tmp_path / "games.jsonl"
    for logdir, score in (("one", 14.6), ("two", 13.0)):
        fabricate(tmp_path / logdir / "2000-steps_defaults" / "Pong-1", 60, score, -20.7)
        arguments = ["--only-table", f"--logdir={tmp_path / logdir}", f"--results={store}"]
        assert games.main([*arguments, "--machine=any"]) == 0
    said = "has another run of defaults, float32, 2,000 steps: Pong, seed 1, which stays"
    assert said in capsys.readouterr().err
    assert "| 14.6 " in (tmp_path / "two" / "games.md").read_text()


def with_curve(folder: Path, seconds_a_step: float = 0.1) -> None:
    """A finished run whose score is a hundredth of its step."""
    fabricate(folder, 60, 14.6, -20.7)
    steps = range(2, 2050, 2)
    rows = "".join(f"{n},{n * seconds_a_step},{n / 100:.4f}\n" for n in steps)
    (folder / "progress.csv").write_text(f"step,{TIME},{SCORE}\n{rows}")


def test_figure_has_the_curves_that_the_results_keep(tmp_path, monkeypatch):
    store, figure = tmp_path / "games.jsonl", tmp_path / "games.png"
    for place, run, speed in (
        ("one/2000-steps_b", "Pong-1", 0.1),
        ("two/2000-steps_a", "Qbert-1", 0.1),
        ("two/2000-steps_b", "Qbert-2", 0.2),
        ("two/2000-steps_b", "Qbert-1", 0.3),
        ("two/2000-steps_defaults", "Qbert-1", 0.4),
    ):
        with_curve(tmp_path / place / run, speed)
    fabricate(tmp_path / "two" / "2000-steps_b" / "Seaquest-1", 60, 100.0, 100.0)
    shown = []
    monkeypatch.setattr("matplotlib.pyplot.close", shown.append)
    for logdir in ("one", "two"):
        arguments = ["--only-table", f"--results={store}", f"--figure={figure}"]
        assert games.main([*arguments, f"--logdir={tmp_path / logdir}", "--machine=a"]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    panels = shown[-1].axes  # of the defaults, and of the kind b, which has the most runs
    assert [axes.get_title() for axes in panels] == ["Pong", "Qbert"]
    named = [{text.get_text() for text in axes.texts} for axes in panels]
    assert named == [{"b"}, {"b", "defaults"}]
    ours = [axes.lines[0].get_xdata() for axes in panels]
    assert [line[-1] for line in ours] == [2048, 2048]
    assert [axes.axison for axes in shown[0].axes] == [True, False]  # the second has no game


def test_curve_of_a_run_is_thinned_and_is_added_where_it_was_not_noted(tmp_path):
    store, runs = tmp_path / "games.jsonl", tmp_path / "runs"
    arguments = ["--only-table", f"--results={store}", f"--logdir={runs}"]
    fabricate(runs / "2000-steps_defaults" / "Pong-1", 60, 14.6, -20.7)
    assert games.main([*arguments, "--machine=one"]) == 0
    (noted,) = games_store.load(store)
    assert not noted.curve
    shutil.rmtree(runs)
    with_curve(runs / "2000-steps_defaults" / "Pong-1")
    assert games.main([*arguments, "--machine=two"]) == 0
    (noted,) = games_store.load(store)
    assert noted.machine == "one"
    curve = curve_of(noted)
    assert len(curve.steps) == CURVE_POINTS
    assert (curve.steps[0], curve.steps[-1], curve.scores[-1]) == (2, 2048, 20.48)
    np.testing.assert_allclose(curve.minutes, curve.steps / 600, atol=0.005)


def test_where_no_run_has_a_curve_nothing_is_drawn(tmp_path, capsys):
    fabricate(tmp_path / "2000-steps_defaults" / "Pong-1", 60, 14.6, -20.7)
    figure = tmp_path / "games.png"
    assert games.main(["--only-table", f"--logdir={tmp_path}", f"--figure={figure}"]) == 0
    assert "nothing is drawn" in capsys.readouterr().err
    assert not figure.exists()


def test_a_figure_that_is_no_png_is_refused(tmp_path, capsys):
    for name in ("", "a.svg", "none/a.png"):
        arguments = ["--only-table", f"--logdir={tmp_path}", f"--figure={tmp_path / name}"]
        assert games.main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_line_with_a_damaged_curve_is_refused(tmp_path, capsys):
    store, runs = tmp_path / "games.jsonl", tmp_path / "runs"
    with_curve(runs / "2000-steps_defaults" / "Pong-1")
    arguments = ["--only-table", f"--results={store}", f"--logdir={runs}", "--machine=one"]
    assert games.main(arguments) == 0
    run = json.loads(store.read_text())
    store.write_text(json.dumps(run | {"curve": [[1, 2], [2, 3]]}) + "\n")
    assert games.main(arguments) == 2
    assert "cannot be used: line 1: curve" in capsys.readouterr().err


def test_results_that_are_none_or_of_no_machine_are_refused(tmp_path, capsys):
    store = tmp_path / "games.jsonl"
    store.write_text('{"settings": "defaults"}\n')
    assert games.main(["--only-table", f"--logdir={tmp_path}", f"--results={store}"]) == 2
    said = capsys.readouterr().err
    assert "cannot be used: line 1: " in said and "--machine" in said


def test_table_goes_into_its_place_of_a_page_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n<!-- begin y --><!-- end y -->\n")
    games_page.insert(page, "x", r"new \1")
    after = page.read_text()
    assert after.startswith("a\n<!-- begin x -->\n\nnew \\1\n\n<!-- end x -->\nb\n<!-- begin y -->")
    games_page.insert(page, "x", r"new \1")
    assert page.read_text() == after
    assert not games_page.faults(page, "y")
    (fault,) = games_page.faults(page, "z")
    assert "<!-- begin z -->" in fault


def test_every_fault_of_the_arguments_is_listed_before_anything_is_created(tmp_path, capsys):
    logdir = tmp_path / "runs"
    arguments = [
        "--games=Pong,PongNoFrameskip-v4",
        "--steps=9",
        "--seeds=1,1",
        "--set",
        "seed=3",
        "--sb3=none",
    ]
    arguments += [f"--page={tmp_path / 'none.md'}", f"--figure={tmp_path / 'none' / 'a.png'}"]
    assert games.main([*arguments, f"--logdir={logdir}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 7
    assert (
        games.main(["--games=Breaout", "--steps=9", "--set", "gama=1", f"--logdir={logdir}"]) == 2
    )
    said = capsys.readouterr().err
    assert "did you mean Breakout?" in said and "did you mean gamma?" in said
    stops = ["--games=Pong", "--steps=9", "--set", "stop_at_score=1", f"--logdir={logdir}"]
    assert games.main(stops) == 2
    assert capsys.readouterr().err.startswith("stop_at_score: ")
    assert not logdir.exists()


def test_line_of_a_preset_is_read_from_its_runs_and_refused_for_others(tmp_path):
    run = tmp_path / "pong"
    shutil.copytree(ROOT / "pretrained" / "pong", run)
    (run / "measured.jsonl").rename(run / "evaluations.jsonl")
    place = "a machine", "2026-11-24"
    runs = measured.runs_in("pong", [run], "sampled", *place)
    line = measured.measured("pong", runs, "sampled")
    assert (line.seeds, line.threads, line.steps, line.games) == ([2], 2, 2_000_896, 30)
    assert "20.77 (95 percent interval 20.43 to 20.97)" in line.result  # its README
    assert "26 minutes" in line.result

    settings = json.loads((run / "params.json").read_text())
    (run / "params.json").write_text(json.dumps(settings | {"gamma": 0.9}))
    with pytest.raises(ParamsError, match=r"gamma is 0\.9, in the preset 0\.99"):
        measured.runs_in("pong", [run], "greedy", *place)

    other = tmp_path / "other"
    shutil.copytree(run, other)
    (run / "params.json").write_text(json.dumps(settings | {"precision": "float32"}))
    (other / "params.json").write_text(json.dumps(settings | {"precision": "bfloat16"}))
    runs = measured.runs_in("pong", [run, other], "sampled", *place)
    with pytest.raises(ParamsError, match="the runs differ in precision"):
        measured.measured("pong", runs, "sampled")


def test_line_of_a_preset_has_every_run_that_is_noted():
    noted = games_store.load(ROOT / "docs" / "games.jsonl")
    lines = [line for line in presets.measured() if line.threads == 1]
    assert len(lines) > 4
    for line in lines:
        runs = measured.runs_among(line.preset, noted, line.policy, line.precision)
        assert measured.measured(line.preset, runs, line.policy) == line


def test_a_run_is_counted_once_in_the_line_of_a_preset():
    noted = games_store.load(ROOT / "docs" / "games.jsonl")
    one, *_ = runs = measured.runs_among("qbert", noted, "sampled")
    with pytest.raises(ParamsError, match=f"two runs of seed {one.seed}"):
        measured.measured("qbert", [*runs, one], "sampled")


def test_runs_of_the_defaults_are_not_a_preset_s_with_other_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    settings = {"env_id": "BreakoutNoFrameskip-v4", "total_steps": 2_500_000}
    (tmp_path / "same.json").write_text(json.dumps(settings))
    (tmp_path / "calm.json").write_text(json.dumps(settings | {"clip_range": 0.1}))
    noted = games_store.load(ROOT / "docs" / "games.jsonl")
    assert measured.runs_among("same", noted, "sampled")
    with pytest.raises(ParamsError, match="no run there is of calm with BreakoutNoFrameskip-v4"):
        measured.runs_among("calm", noted, "sampled")


def test_scores_are_shown_as_exactly_as_their_size_asks_for():
    assert [games_markdown.points(score) for score in (-0.01, -20.66, 999.94, 12345.6)] == [
        "0.0",
        "-20.7",
        "999.9",
        "12,346",
    ]


def test_a_log_that_cannot_be_read_has_no_time(tmp_path):
    (tmp_path / "progress.csv").mkdir()
    assert seconds_of(tmp_path, range(10)) is None
