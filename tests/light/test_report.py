"""The report and the model card of runs whose files are written down."""

import html
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

import run_atari
from docs.browser import Browser
from ppo import checkpoint, params
from ppo.checkpoint import Checkpoint
from ppo.envs import human
from ppo.envs.registry import resolved, settings_for
from ppo.errors import PPOError
from ppo.files import video
from ppo.files.folder import FolderError, RunFolder
from ppo.report import card, report
from ppo.report.published import CURVES, Published, comparable
from ppo.report.summary import commands, read_summary
from ppo.runs.start import RunState
from ppo.settings import Params
from ppo.telemetry.scalars import metric_of
from tests.light.test_bad_files import EPISODE
from tests.light.test_explain import fork, log, written

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium")
PIXEL = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
EVALUATION = {
    "step": 60_000,
    "policy": "sampled",
    "seed": 1,
    "scores": [19.0, 21.0],
    "lengths": [1700, 1650],
    "mean": 20.0,
    "low": 19.0,
    "high": 21.0,
}


def run_at(folder: Path, **settings: object) -> Path:
    rows = log()
    for row in rows:
        row["rollout/ep_rew_mean"] = row["step"] / 3000
    params = Params(seed=3, learning_rate=1e-3, **settings)
    run = written(folder, rows, params.to_json())
    (run / "evaluations.jsonl").write_text(json.dumps(EVALUATION) + '\n{"step": 1, "cut o')
    return run


def test_a_run_from_before_there_was_a_precision_is_repeated_in_float32(tmp_path):
    run = run_at(tmp_path / "run")
    assert "float32" not in commands(read_summary(run))
    written = json.loads((run / "params.json").read_text())
    (run / "params.json").write_text(json.dumps({"env_id": written["env_id"], "seed": 3}))
    earlier = "--set clip_rewards=true --set fire_on_life_loss=false --set value_gradient=shared"
    assert f"params.json {earlier} --set precision=float32\n" in commands(read_summary(run))


def test_no_module_is_imported_that_only_the_origin_of_a_fork_names(tmp_path, monkeypatch):
    written(tmp_path / "origin", log(), Params(env_id="planted_game:Game-v0").to_json())
    run = fork(tmp_path / "run", tmp_path / "origin", 20_000, log()[20:])
    (tmp_path / "planted_game.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert "--set gamma=0.5" in commands(read_summary(run))
    assert "planted_game" not in sys.modules


def test_a_report_has_the_published_curves_of_its_game(tmp_path):
    run = run_at(tmp_path / "run", env_id="BreakoutNoFrameskip-v4")
    rows = [row | {"step": 10 * row["step"]} for row in log()]
    written(run, rows, (run / "params.json").read_text())
    step = int(rows[-1]["step"])
    report.write([run], run / "report.html")
    page = (run / "report.html").read_text()
    for one in comparable(Params(env_id="BreakoutNoFrameskip-v4")):
        assert f"<td>{one.package}</td><td>{one.score_at(step):.1f}</td>" in page
        assert one.source in page
    for other in ("ALE/Breakout-v5", "CartPole-v1", "no:Such-v0"):
        assert comparable(Params(env_id=other)) == []
    assert comparable(Params(env_id="BreakoutNoFrameskip-v4", frame_skip=2)) == []


def test_published_curves_are_sound():
    found = [Published.model_validate_json(line) for line in CURVES.read_text().splitlines()]
    assert len(found) == 22
    for one in found:
        steps, scores = zip(*one.curve, strict=True)
        assert list(steps) == sorted(set(steps)) and human.normalized(one.game, scores[0]) < 0.6
        assert one.score_at(steps[3]) == scores[3] and np.isnan(one.score_at(steps[-1] + 1))


def test_a_run_that_is_named_twice_is_shown_once(tmp_path):
    run, other = run_at(tmp_path / "run"), run_at(tmp_path / "other")
    (tmp_path / "link").symlink_to(run)
    page = page_of(run, other, run, tmp_path / "link")
    assert re.findall("<h2>The run (.*?)</h2>", page) == ["run", "other"]


def with_video(run: Path, name: str, score: float) -> Path:
    for wing in ("videos", "replays"):
        (run / wing).mkdir(exist_ok=True)
    frames = np.random.default_rng(1).integers(0, 255, (30, 32, 32, 3)).astype(np.uint8)
    video.write(run / "videos" / f"{name}.mp4", frames.repeat(4, 1).repeat(4, 2), 30)
    (run / "replays" / f"{name}.json").write_text(json.dumps(EPISODE | {"score": score}))
    return run


def page_of(*runs: Path) -> str:
    report.write(list(runs), runs[0] / "report.html")
    return (runs[0] / "report.html").read_text().replace("<wbr>", "")


def test_the_report_shows_the_score_the_settings_the_health_and_how_to_repeat_it(tmp_path):
    page = page_of(run_at(tmp_path / "run"))
    assert "20.00 points (95 percent interval 19.00 to 21.00)" in page
    assert "<td>learning_rate</td><td>0.001</td><td>0.0004</td>" in page
    assert "<td>gamma</td>" not in page
    assert re.search(
        r"<td>train/approx_kl</td><td>0\.0\d+</td><td>below 0\.1</td><td>ok</td>", page
    )
    assert "no collapse found" in page
    assert f"--pfile={tmp_path}/run/params.json" in page
    assert page.count("<svg") == 1


def test_the_report_begins_with_what_was_learnt_in_which_time_beside_others(tmp_path, monkeypatch):
    read: list[Params] = []
    monkeypatch.setattr(
        "ppo.report.summary.comparable", lambda params: read.append(params) or comparable(params)
    )
    run = run_at(tmp_path / "some-folder")
    rows = [
        {**row, "step": 10 * row["step"], "time/time_elapsed": row["step"] / 40} for row in log()
    ]
    for row in rows:
        row["rollout/ep_rew_mean"] = row["step"] / 30_000
    (run / "evaluations.jsonl").unlink()
    page = page_of(written(run, rows, Params(seed=3).to_json()))
    assert "<title>Pong</title>" in page and "<h1>Pong</h1>" in page
    said = page.split("</figure>")[0]
    assert "This agent learnt Pong in 25 min." in said
    assert "from 0.3 to 20.0 points in 600,000 decisions (2,400,000 frames)." in said
    assert "Random play scores -20.7 points and a human 14.6." in said
    assert "It passed the human after 18 min." in said
    scored = r"After 600,000 steps, published PPO runs scored -\d+\.\d in baselines ppo2, "
    assert re.search(scored, said)
    assert len(read) == 1
    few = [row | {"rollout/games": 99 if row["step"] < 590_000 else 100} for row in rows]
    later = page_of(written(run, few, Params(seed=3).to_json()))
    assert "It passed the human after 25 min." in later.split("</figure>")[0]
    never = [row | {"rollout/games": 99} for row in rows]
    assert "It passed the human" not in page_of(written(run, never, Params(seed=3).to_json()))


def test_the_report_keeps_the_training_and_its_evaluation_apart(tmp_path):
    run = run_at(tmp_path / "run")
    (run / "evaluations.jsonl").write_text(NEWEST)
    page = page_of(run)
    assert "Its training score rose from 0.3 to 20.0 points" in page
    assert "An evaluation measured 9.0 points, mean of 2 whole games of the sampled" in page


def test_the_report_says_what_was_not_learnt(tmp_path):
    rows = log()
    for row in rows:
        row["rollout/ep_rew_mean"] = 100 - row["step"] / 1000
    flat = Params(env_id="CartPole-v1", network="mlp").to_json()
    page = page_of(written(tmp_path / "worse", rows, flat))
    said = "This agent trained on CartPole-v1. Its training score went from 99.0 to 40.0 points"
    assert said in page
    assert "Random play" not in page and " frames)" not in page
    page = page_of(fork(tmp_path / "fork", tmp_path / "gone", 20_000, log()[20:]))
    assert "This run continues another one from step 20,000." in page
    assert "has not finished a game yet" in page


def test_the_time_of_a_fork_says_that_it_has_the_time_of_its_origin(tmp_path):
    rows = log()[20:]
    for row in rows:
        row |= {"rollout/ep_rew_mean": row["step"], "time/time_elapsed": 600.0}
    page = page_of(fork(tmp_path / "fork", tmp_path / "gone", 20_000, rows))
    assert "in 10 min, with the time of the other run included. Its training score rose" in page


def test_what_is_outside_its_limits_has_its_remedy_in_the_report(tmp_path):
    run = written(tmp_path / "run", log(train__approx_kl=20), Params(seed=3).to_json())
    remedy = re.escape(html.escape(metric_of("train/approx_kl").remedy))
    row = rf"<td>train/approx_kl</td><td>0\.\d+</td><td>below 0\.1</td><td>{remedy}</td>"
    assert re.search(row, page_of(run))


def test_the_page_needs_no_network(tmp_path):
    page = page_of(with_video(run_at(tmp_path / "run"), "step-1", 3.0))
    sources = re.findall(r"(?:src|href)=['\"]([^'\"]{0,30})", page)
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert "@import" not in page and "url(http" not in page


def test_several_runs_share_one_figure(tmp_path):
    runs = [run_at(tmp_path / "one"), run_at(tmp_path / "two", env_id="BreakoutNoFrameskip-v4")]
    page = page_of(*runs)
    assert "<h1>Pong and Breakout</h1>" in page
    assert page.count("<svg") == 1 and page.count("<section>") == 2
    assert "one: 20.00 points" in page


def test_every_run_is_in_the_legend_whatever_its_name(tmp_path):
    page = page_of(run_at(tmp_path / "_one"), run_at(tmp_path / "$two$"))
    # Letters are drawn, and named in comments.
    assert re.findall(r"<!-- (_one|\$two\$) -->", page) == ["_one", "$two$"]


def test_names_are_escaped(tmp_path):
    page = page_of(run_at(tmp_path / "<b>run & $x$"))
    assert "<b>run" not in page and "&lt;b&gt;run &amp; $x$" in page


def test_best_and_newest_video_are_inside(tmp_path):
    run = run_at(tmp_path / "run")
    for name, score in (("step-1", 3.0), ("step-2", 9.0), ("step-3", 5.0)):
        with_video(run, name, score)
    page = page_of(run)
    assert page.count("<video") == 2
    assert "best game: 9 points" in page and "newest game: 5 points" in page
    for step in (1, 2, 3):
        replay = run / "replays" / f"step-{step}.json"
        replay.write_text(json.dumps(json.loads(replay.read_text()) | {"step": step}))
    (run / "videos" / "step-1.mp4").touch()  # as a video is that is made again
    assert "newest game: 5 points" in page_of(run)


def test_a_run_without_evaluations_or_games_has_a_report(tmp_path):
    run = written(tmp_path / "run", log(), Params(seed=1).to_json())
    assert "no whole game yet" in page_of(run)


def test_a_run_of_few_games_says_how_many_its_score_is_the_mean_of(tmp_path):
    run = run_at(tmp_path / "run")
    (run / "evaluations.jsonl").unlink()
    for games, shown in ((45, 45), (5000, 100)):
        rows = [row | {"rollout/ep_rew_mean": 3.0, "rollout/games": games} for row in log()]
        written(run, rows, Params(seed=3).to_json())
        assert read_summary(run).measure == f"mean of the last {shown} games of its training"


def test_a_fork_counts_the_steps_of_its_own_rise(tmp_path):
    rows = [row | {"rollout/ep_rew_mean": row["step"] / 3000} for row in log()]
    run = fork(tmp_path / "run", run_at(tmp_path / "origin"), 20_000, rows[20:])
    page = page_of(run)
    assert "from 7.0 to 20.0 points in 40,000 decisions (160,000 frames)." in page


def test_a_fork_is_repeated_as_a_fork(tmp_path):
    origin = run_at(tmp_path / "origin")
    run = fork(tmp_path / "run", origin, 20_000, log()[20:])
    assert f"--fork={origin}@20000" in page_of(run)


def test_a_fork_is_repeated_with_what_its_resumes_changed(tmp_path):
    origin = run_at(tmp_path / "origin")
    run = fork(tmp_path / "run", origin, 20_000, log()[20:])
    (run / "params.json").write_text(Params(seed=3, learning_rate=5e-5).to_json())
    assert f"--fork={origin}@20000 --set learning_rate=5e-05\n" in commands(read_summary(run))


def test_a_fork_of_a_run_that_is_gone_is_not_repeated_from_another_of_its_name(tmp_path):
    origin = run_at(tmp_path / "origin")
    run = fork(tmp_path / "run", origin, 20_000, log()[20:])
    facts = json.loads((run / "origin.json").read_text()) | {"first_entry": "of another run"}
    (run / "origin.json").write_text(json.dumps(facts))
    sets = "--set gamma=0.5 --set seed=2"
    assert f"--fork=ORIGINAL@20000 {sets}\n" in commands(read_summary(run))


def test_a_setting_left_to_the_game_is_equal_to_what_the_game_chooses(tmp_path):
    origin = run_at(tmp_path / "origin", env_id="Breakout", threads=2)
    assert json.loads((origin / "params.json").read_text())["clip_rewards"] is None
    run = fork(tmp_path / "run", origin, 20_000, log()[20:])
    left_open = params.load_run(origin / "params.json")
    (run / "params.json").write_text(resolved(left_open).to_json())
    summary = read_summary(run)
    assert f"--fork={origin}@20000 --set precision={summary.params.precision}\n" in commands(
        summary
    )
    chosen = {"precision": ("auto", summary.params.precision), "threads": (None, 2)}
    assert summary.differing() == {"learning_rate": (4e-4, 1e-3), "seed": (None, 3), **chosen}


def test_settings_are_compared_with_what_the_command_uses_for_the_game(tmp_path):
    usual = settings_for("CartPole-v1") | {"entropy_coef": 0.01}
    page = page_of(written(tmp_path / "run", log(), Params(**usual).to_json()))
    assert "<th>default for CartPole-v1</th>" in page and "<td>network</td>" not in page
    assert "<td>entropy_coef</td><td>0.01</td><td>0.0</td>" in page


def test_a_fork_is_repeated_with_its_changes_and_as_many_workers(tmp_path):
    origin = run_at(tmp_path / "origin")
    run = fork(tmp_path / "run", origin, 20_000, log()[20:])
    facts = json.loads((run / "origin.json").read_text())
    facts["changes"] = {
        "entropy_coef": [0.01, 0.0],
        "network": ["a3c", "nature"],
        "workers": [1, 2],
    }
    (run / "origin.json").write_text(json.dumps(facts))
    (run / "params.json").write_text(Params(seed=1, workers=2).to_json())
    (origin / "params.json").unlink()
    sets = "--set entropy_coef=0.0 --set network=nature --workers=2"
    assert f"--fork={origin}@20000 {sets}\n" in commands(read_summary(run))


def test_an_evaluation_of_one_game_has_no_interval(tmp_path):
    run = run_at(tmp_path / "run")
    (run / "evaluations.jsonl").write_text(evaluation(60_000, "sampled", 20.0, games=1))
    page = page_of(run)
    assert "20.00 points, mean of 1 whole game" in page and "20.00 to 20.00" not in page


def test_the_evaluation_of_the_headline_is_repeated_and_the_limit_is_said(tmp_path):
    run = run_at(tmp_path / "run")
    assert commands(read_summary(run)).endswith(" --evaluate 2 --policy=sampled --seed=1")
    page, limit = page_of(run), "If a resume changed one, the new run differs."
    card.write(run, run)
    assert limit in page and limit in (run / "README.md").read_text()
    (run / "evaluations.jsonl").unlink()
    assert commands(read_summary(run)).endswith(" --evaluate 30")


def test_page_and_card_list_what_resumes_changed(tmp_path):
    run = run_at(tmp_path / "run")
    now = params.load_run(run / "params.json").model_dump()

    def saved(**state: object) -> str:
        of_run = RunState(**{"params": now, **state})
        made = Checkpoint(60_000, {"weights/0": np.zeros(2)}).with_part("run", of_run)
        checkpoint.save(RunFolder(run), made, kept=1)
        return read_summary(run).limit

    assert "If a resume changed one" in saved()
    assert saved(changed=[]) == "No resume changed a setting."
    # The last resume has not saved anything yet.
    limit = saved(changed=[(16, "gamma", 0.9)], params=now | {"learning_rate": 0.1})
    assert limit.endswith("gamma was 0.9 up to step 16; learning_rate was 0.1 up to step 60,000.")
    card.write(run, run)
    assert limit in page_of(run) and limit in (run / "README.md").read_text()


def test_runs_of_a_sweep_have_different_names(tmp_path):
    page = page_of(*(run_at(tmp_path / gamma / "seed-0") for gamma in ("gamma=0.9", "gamma=0.99")))
    assert "gamma=0.9/seed-0: 20.00 points" in page and "<h2>The run gamma=0.99/seed-0</h2>" in page


def evaluation(step: int, policy: str, mean: float, games: int = 2) -> str:
    scores = {"scores": [mean] * games, "mean": mean, "low": mean, "high": mean}
    return json.dumps(EVALUATION | {"step": step, "policy": policy} | scores) + "\n"


NEWEST, STALE = evaluation(60_000, "sampled", 9.0), evaluation(30_000, "sampled", 5.0)
GREEDY = evaluation(60_000, "greedy", 7.0)


@pytest.mark.parametrize(
    ("lines", "headline"),
    [
        ([STALE], "20.00 points, mean of the last 100 games of its training"),
        ([], "20.00 points, mean of the last 100 games of its training"),
        (
            [evaluation(90_000, "sampled", 5.0)],
            "20.00 points, mean of the last 100 games of its training",
        ),
        ([NEWEST, GREEDY, STALE], "9.00 points"),
        ([GREEDY, STALE], "7.00 points"),
        ([evaluation(60_000, "sampled", 8.0, games=30), NEWEST], "8.00 points"),
        ([evaluation(60_000, "greedy", 8.0, games=30), NEWEST], "9.00 points"),
        ([NEWEST, evaluation(60_000, "sampled", 8.0)], "8.00 points"),
    ],
    ids=["stale", "none", "discarded", "sampled", "greedy alone", "most games", "greedy", "last"],
)
def test_headline_and_card_are_of_the_newest_step(lines, headline, tmp_path):
    run = run_at(tmp_path / "run")
    (run / "evaluations.jsonl").write_text("".join(lines))
    page = page_of(run)
    assert f"<p class='score'>{headline}" in page
    assert ("Step 60,000 was not evaluated; --evaluate 30" in page) == ("training" in headline)
    card.write(run, run)
    header, body = (run / "README.md").read_text().split("---\n")[1:3]
    assert f"value: {headline.split()[0]}\n" in header and headline in body
    assert read_summary(run).measure in header and read_summary(run).measure in body


def test_headline_says_how_many_games_the_time_limit_ended(tmp_path):
    run = run_at(tmp_path / "run")
    (run / "evaluations.jsonl").write_text(json.dumps(EVALUATION | {"time_limited": 2}) + "\n")
    assert read_summary(run).headline().endswith("step 60,000; the time limit ended 2 of them")


def test_newest_step_is_of_the_checkpoint_that_an_evaluation_plays(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(ROOT / "pretrained" / "pong", run)
    last = (run / "progress.csv").read_text().splitlines()[-1].split(",")
    with open(run / "progress.csv", "a") as file:  # the log of a run is ahead of its checkpoints
        file.write(",".join([str(int(last[0]) + 2048), *last[1:]]) + "\n")
    assert read_summary(run).measure == "mean of the last 100 games of its training"
    (run / "evaluations.jsonl").write_text(evaluation(2_000_896, "sampled", 9.0))
    assert read_summary(run).headline().startswith("9.00 points")


def test_damaged_evaluations_are_left_out_and_the_film_comes_first(tmp_path):
    run = with_video(run_at(tmp_path / "run"), "step-1", 3.0)
    with_video(run, "film", 0.0)
    (run / "replays" / "film.json").unlink()
    damaged = b'[1]\n{"step": 90000}\n\xff\xfe\n'
    (run / "evaluations.jsonl").write_bytes(json.dumps(EVALUATION).encode() + b"\n" + damaged)
    page = page_of(run)
    assert "20.00 points" in page and "90,000" not in page
    assert "best and newest game: 3 points" in page
    assert page.count("<video") == 2 and "how it learnt" in page


def test_the_card_has_its_header_and_the_best_video_beside_it(tmp_path):
    run = with_video(with_video(run_at(tmp_path / "run"), "step-1", 9.0), "step-2", 1.0)
    card.write(run, run / "card")
    page = (run / "card" / "README.md").read_text()
    header, body = page.split("---\n")[1:3]
    assert "library_name: keras" in header and "value: 20.00" in header
    assert "- PongNoFrameskip-v4" in header
    assert "20.00 points" in body and "![The end of a game](replay.gif)" in body
    best = run / "videos" / "step-1.mp4"
    assert (run / "card" / "replay.mp4").read_bytes() == best.read_bytes()
    assert (run / "card" / "replay.gif").read_bytes().startswith(b"GIF89a")
    assert "agent.keras" not in page  # there is no checkpoint


def test_a_card_without_a_network_that_can_be_written_says_why(tmp_path, monkeypatch, capsys):
    run = run_at(tmp_path / "run", network="mine:trunk")
    checkpoint.save(RunFolder(run), Checkpoint(60_000, {"weights/0": np.zeros(2)}), kept=1)
    monkeypatch.setattr(card, "export_run", lambda *_, **__: None)
    card.write(run, run / "card")
    page = (run / "card" / "README.md").read_text()
    assert "`agent.keras` needs" in page and "observations of uint8 [n, 84, 84, 4]" in page
    monkeypatch.setattr(card, "export_run", Mock(side_effect=PPOError("it does not fit")))
    card.write(run, run / "card")
    assert "agent.keras" not in (run / "card" / "README.md").read_text()
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "the model card has no network: it does not fit"


def test_a_missing_run_is_named_before_any_film_is_made(tmp_path, monkeypatch):
    run = run_at(tmp_path / "run")
    monkeypatch.setattr(report, "film", lambda *_, **__: pytest.fail("a film began"))
    with pytest.raises(FolderError, match="holds no run"):
        report.write([run, tmp_path / "none"], tmp_path / "report.html")


def test_a_report_that_is_interrupted_keeps_the_network_of_an_earlier_one(tmp_path, monkeypatch):
    run, network = run_at(tmp_path / "run"), tmp_path / "run" / "card" / "agent.keras"
    checkpoint.save(RunFolder(run), Checkpoint(60_000, {"weights/0": np.zeros(2)}), kept=1)
    monkeypatch.setattr(card, "export_run", Mock(side_effect=KeyboardInterrupt))
    network.parent.mkdir()
    network.write_text("earlier")
    with pytest.raises(KeyboardInterrupt):
        card.write(run, network.parent)
    assert network.read_text() == "earlier"


def test_the_command_says_that_the_page_is_written_before_it_exports(tmp_path, monkeypatch, capsys):
    run = run_at(tmp_path / "run")
    checkpoint.save(RunFolder(run), Checkpoint(60_000, {"weights/0": np.zeros(2)}), kept=1)
    monkeypatch.setattr(card, "export_run", lambda *_, **__: None)
    assert run_atari.main([f"--logdir={run}", "--report"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"the report is {run}/report.html",
        "exporting the network for the model card ...",
        f"the model card is in {run}/card",
    ]


def test_a_card_claims_no_result_without_a_game_and_no_atari_outside_it(tmp_path):
    run = written(tmp_path / "run", log(), Params(env_id="CartPole-v1", network="mlp").to_json())
    card.write(run, run)
    _, header, _ = (run / "README.md").read_text().split("---\n")
    tags = ["- reinforcement-learning", "- ppo", "- CartPole-v1"]
    assert header.splitlines() == ["library_name: keras", "tags:", *tags]
    card.write(run_at(tmp_path / "played"), run)
    header = (run / "README.md").read_text().split("---\n")[1]
    assert "- atari\n" in header and "value: 20.00\n" in header


def test_the_command_writes_both_and_refuses_what_is_no_run(tmp_path, capsys):
    run = run_at(tmp_path / "run")
    assert run_atari.main([f"--logdir={run}", "--report", str(run_at(tmp_path / "other"))]) == 0
    assert (run / "report.html").exists() and (run / "card" / "README.md").exists()
    assert "report.html" in capsys.readouterr().out
    assert run_atari.main([f"--logdir={tmp_path / 'none'}", "--report"]) == 2
    assert not (tmp_path / "none").exists()


def test_a_story_without_a_checkpoint_knows_no_versions(tmp_path):
    assert read_summary(run_at(tmp_path / "run")).state.versions == {}


class Browsed(ThreadingHTTPServer):
    """A page, a place where its script reports what it saw, and a picture that comes only then: the
    browser waits for it, however slow the machine is.
    """

    def __init__(self, page: str):
        super().__init__(("127.0.0.1", 0), Answer)
        self.page, self.shown, self.seen = page, "", threading.Event()


class Answer(BaseHTTPRequestHandler):
    """One request for a part of a Browsed page."""

    server: Browsed

    def do_GET(self) -> None:
        if self.path.startswith("/shown?"):
            self.server.shown = urllib.parse.unquote(self.path.partition("?")[2])
            self.server.seen.set()
        elif self.path == "/held.png":
            self.server.seen.wait(50)
        content = self.server.page.encode() if self.path == "/" else PIXEL
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path == "/" else "image/png")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """In silence."""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_in_a_browser_nothing_fails_and_the_video_is_decoded(tmp_path):
    page = page_of(with_video(run_at(tmp_path / "run"), "step-1", 3.0))
    script = (
        "<img src='/held.png'><script>const v = document.querySelector('video');"
        "v.onseeked = () => new Image().src = `/shown?${v.currentTime} ${v.videoWidth}`;"
        "const seek = () => v.currentTime = 0.5;"
        "v.readyState >= 2 ? seek() : v.onloadeddata = seek</script>"
    )
    with Browsed(page.replace("</body>", script + "</body>")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = subprocess.run(
            [
                CHROMIUM,
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
                *("--no-first-run", "--disable-component-update", "--disable-sync"),
                *(f"--user-data-dir={tmp_path / 'browser'}", "--enable-logging=stderr"),
                "--dump-dom",
                f"http://127.0.0.1:{server.server_port}/",
            ],
            capture_output=True,
            text=True,
            timeout=100,
        )
        server.shutdown()
    assert "CONSOLE" not in done.stderr
    (tmp_path / "page.html").write_text(page)
    with Browser(CHROMIUM, (390, 800)) as phone:
        phone.visit((tmp_path / "page.html").as_uri(), 1.0)
        width = {"expression": "document.documentElement.scrollWidth"}
        assert phone._call("Runtime.evaluate", **width)["result"]["value"] == 390
    assert server.shown == "0.5 128"
