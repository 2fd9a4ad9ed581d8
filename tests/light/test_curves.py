"""Curves measured by hand calculation."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ppo.errors import Refused
from ppo.files.folder import FolderError
from ppo.sweep import results
from ppo.telemetry import collapse, curves, figures, scalars
from ppo.telemetry.curves import Curve

ROOT = Path(__file__).parents[2]


def curve(*scores: float) -> Curve:
    """A log entry every 100 steps, and every 2 minutes."""
    numbers = np.arange(len(scores))
    return Curve(numbers * 100.0, np.array(scores, float), numbers * 2.0)


def test_a_steady_rise_has_no_collapse():
    assert collapse.count(np.arange(10.0), 3) == 0


def test_a_loss_equal_to_the_limit_is_no_collapse():
    assert collapse.count(np.array([0, 10, 7, 10.0]), 3) == 0


def test_a_collapse_ends_when_half_of_it_is_regained():
    # 10 -> 2 is a fall of 8, over at 6; then from 6 up to 9 and down to 1, a fall of 8 to the end.
    assert collapse.count(np.array([0, 10, 5, 2, 4, 6, 9, 1, 2.0]), 3) == 2
    # Half of it is not made up at 5, so the last readings belong to the same fall.
    assert collapse.count(np.array([0, 10, 5, 2, 4, 5, 5, 1, 2.0]), 3) == 1


def test_scores_of_few_games_are_no_collapse(tmp_path):
    rows = [
        f"{100 * n},{score},{20 * n}" for n, score in enumerate([-180, -460, -400, -300, -80], 1)
    ]
    head = "step,rollout/ep_rew_mean,rollout/games"
    (tmp_path / "progress.csv").write_text("\n".join([head, *rows, ""]))
    run = curves.read(tmp_path)
    assert run.few == 4
    (cells,) = results.table({"a": [run]})[0].values()
    assert cells[5] == "-80.00" and cells[-1] == "0"
    (cells,) = results.table({"a": [replace(run, few=5)]})[0].values()
    assert cells[5] == "-80.00"


def test_the_best_score_is_of_a_hundred_games_if_there_are_any():
    few = replace(curve(90, 50, 60), few=1)
    (cells,) = results.table({"a": [few]})[0].values()
    assert cells[5] == "60.00"


def test_a_slow_collapse_counts_once():
    assert collapse.count(np.array([10, 8, 6, 4, 2, 0.0]), 3) == 1


def test_runs_are_compared_at_the_steps_that_all_have_reached():
    long, short = curve(0, 10, 20, 30), curve(5, 5, 5)
    comparisons = curves.compare({"long": [long], "both": [long, short]})
    assert [comparison.steps[-1] for comparison in comparisons] == [200, 200]
    assert comparisons[0].scores[0, -1] == 20
    assert comparisons[1].mean[-1] == 12.5


def test_best_and_collapses_of_a_table_are_of_every_log_entry():
    scores = np.full(977, 100.0)
    scores[0] = 0
    for place in (301, 302, 303, 304, 305):
        peak, drop = scores.copy(), scores.copy()
        peak[place], drop[place] = 400, 0
        rows, notes = results.table({"peak": [curve(*peak)], "drop": [curve(*drop)]})
        assert [rows["peak"][5], rows["drop"][5]] == ["400.00", "100.00"]
        assert [rows["peak"][7], rows["drop"][7]] == ["1", "0"]  # of a fall of 300, and of 100
        (alone,) = results.table({"drop": [curve(*drop)]})[0].values()
        assert alone[7] == "1"
        assert "Mean: from step 0 on" in notes


def test_noise_of_a_policy_that_learns_nothing_is_no_collapse():
    scores = -20.3 - 0.005 * np.arange(60) + np.tile([0.05, -0.05], 30)
    rows, notes = results.table({"a": [curve(*scores)]})
    assert rows["a"][7] == "0" and "falls of more than 5.06 points" in notes
    rows, notes = results.table({"a": [curve(*scores, 20, 9.5, 9)]})
    assert rows["a"][7] == "1" and "falls of more than 10.16 points" in notes


def test_the_table_says_from_which_step_on_the_mean_is():
    late = Curve(np.array([150.0, 400.0]), np.zeros(2))
    rows, notes = results.table({"whole": [curve(0, 10, 20, 30, 40)], "late": [late]})
    assert "Mean: from step 150 on, where all runs have a score." in notes
    assert rows["whole"][6] == "27.50"


def test_a_figure_shows_each_variant_as_far_as_its_own_runs_go():
    long, short = curve(0, 1, 2, 3, 4), curve(0, 10, 20)
    shown = curves.compare_each({"long": [long], "both": [long, short]})
    assert [comparison.name for comparison in shown] == ["long", "both"]
    assert [comparison.steps[-1] for comparison in shown] == [400, 200]


def test_a_log_has_minutes_if_its_clock_advances(tmp_path):
    def read(*seconds: str) -> Curve:
        rows = "".join(f"{100 * n},{n},{text}\n" for n, text in enumerate(seconds))
        (tmp_path / "progress.csv").write_text(f"step,{scalars.SCORE},{scalars.TIME}\n{rows}")
        return curves.read(tmp_path)

    np.testing.assert_array_equal(read("30", "60", "60").minutes, [0.5, 1, 1])
    for seconds in (("30", "20"), ("30", ""), ("30", "inf")):
        assert read(*seconds).minutes is None
    (tmp_path / "progress.csv").write_text(f"step,{scalars.SCORE}\n100,1\n200,2\n")
    assert curves.read(tmp_path).minutes is None


def test_area_is_the_mean_score_on_the_way():
    (comparison,) = curves.compare({"a": [curve(0, 10, 20)]})
    assert comparison.area == pytest.approx(10)


def test_a_variant_without_a_curve_takes_no_part_in_the_comparison():
    lacking = {"b": ["b has none", "nor has b"]}
    rows, notes = results.table({"b": [], "a": [curve(0, 10, 20)]}, lacking)
    assert [*rows.values()] == [
        ["a", "1", "20.00", "20.00", "20.00", "20.00", "10.00", "0"],
        ["b", "0 of 2", *results.UNKNOWN],
    ]
    assert "up to step 200," in notes and "- b has none\n- nor has b" in notes


@pytest.mark.parametrize(
    "rows",
    [
        "100,1\n100,2",
        "200,1\n100,2",
        "100,nan\n200,2",
        "nan,1\n200,2",
        "100,inf\n200,2",
        "a,1\n2,2",
    ],
)
def test_a_log_whose_numbers_are_no_curve_is_refused(tmp_path, rows):
    (tmp_path / "progress.csv").write_text(f"step,{scalars.SCORE}\n{rows}\n")
    with pytest.raises(FolderError, match=r"not the log of a run|has no curve yet"):
        curves.read(tmp_path)


def test_a_log_that_is_no_csv_is_refused(tmp_path):
    (tmp_path / "progress.csv").write_text(f"step,{scalars.SCORE}\n1,{'9' * 200_000}\n")
    with pytest.raises(FolderError, match="field larger than field limit"):
        curves.read(tmp_path)


@pytest.fixture
def shown(monkeypatch):
    """The figures that were drawn."""
    drawn = []
    monkeypatch.setattr("matplotlib.pyplot.close", drawn.append)
    return drawn


def test_a_figure_names_each_curve_and_what_is_drawn(tmp_path, shown):
    for several in (False, True):
        runs = {"a": [curve(0, 10, 20)] * (1 + several), "b": [curve(0, 8, 8, 8, 8)]}
        curves.draw(runs, tmp_path / "figure.png", "title")
    for figure, said in zip(shown, ("", ": mean of the runs and 95 percent interval"), strict=True):
        (axes,) = figure.axes
        assert (axes.get_xlabel(), axes.get_title()) == ("steps", f"title{said}")
        assert [line.get_xdata()[-1] for line in axes.lines] == [200, 400]
        names = [(text.get_text(), text.get_color()) for text in axes.texts]
        b, a = axes.lines[::-1]
        assert names == [("b", b.get_color()), ("a", a.get_color())]


def test_a_wide_interval_does_not_hide_the_curves(tmp_path, shown):
    curves.draw({"a": [curve(0, 10, 20), curve(0, 8, 18)]}, tmp_path / "figure.png", "title")
    ((axes,),) = [figure.axes for figure in shown]
    (band,) = axes.collections
    top = 19 + 12.706 * np.std([18, 20])  # standard error of two runs
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(top, abs=0.01)
    assert axes.get_ylim()[1] < 21


@pytest.mark.parametrize(
    ("wanted", "sizes", "places"),
    [
        ([0.1, 0.5], [0.1, 0.1], [0.1, 0.5]),
        ([0.5, 0.5, 0.5], [0.1, 0.1, 0.3], [0.5, 0.6, 0.8]),
        ([0.9, 0.95], [0.2, 0.2], [0.7, 0.9]),
        ([], [], []),
    ],
)
def test_names_of_lines_that_end_together_do_not_overlap(wanted, sizes, places):
    assert figures.spread(wanted, sizes) == pytest.approx(places)


def test_many_lines_differ_in_color_or_dashes():
    looks = figures.looks(map(str, range(24)))
    assert len({tuple(look.values()) for look in looks.values()}) == 24
    assert len({look["color"] for look in [*looks.values()][:6]}) == 6


def test_where_no_variant_s_runs_have_steps_in_common_nothing_is_drawn(tmp_path):
    early, late = (Curve(np.array(steps), np.zeros(2)) for steps in ([0, 9.0], [20, 29.0]))
    with pytest.raises(Refused, match="nothing is drawn"):
        curves.draw({"a": [early, late]}, tmp_path / "figure.png", "title")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["$x$", "$x_{", "_x", "x" * 500])
def test_a_figure_shows_names_literally(tmp_path, shown, name):
    curves.draw({name: [curve(0, 1)]}, tmp_path / "figure.png", name)
    (axes,) = shown[0].axes
    texts = [axes.title, *axes.texts]
    assert len(texts) == 2
    for text in texts:
        shortened = name if len(name) < 60 else "x" * 29 + "…" + "x" * 30
        assert text.get_text().replace("\n", "") == shortened
        assert not text.get_parse_math()


DRAWS = """
from pathlib import Path
from ppo.telemetry import figures
with figures.drawn(Path("figure.png"), 2) as figure:
    figure.subplots().set_title("title")
"""


def test_the_user_s_settings_of_matplotlib_change_no_figure(tmp_path):
    drawn = []
    for backend, settings in ("agg", ""), ("absent", "text.usetex: True\nfigure.facecolor: red\n"):
        (tmp_path / "matplotlibrc").write_text(settings)
        environment = os.environ | {"MPLBACKEND": backend, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-W", "error", "-c", DRAWS]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
        drawn.append((tmp_path / "figure.png").read_bytes())
    assert drawn[0] == drawn[1]
