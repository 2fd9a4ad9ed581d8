import contextlib
import csv
import fcntl
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

import run_atari
from ppo import checkpoint, params
from ppo.checkpoint import decode, load_weights
from ppo.files.folder import RunFolder
from ppo.replay import replay
from ppo.settings import Params, describe
from tests.forked import Forked
from tests.processes import wait_until

ROOT = Path(__file__).parents[1]
COMMAND = ROOT / "run_atari.py"

PONG = {
    "network": "a3c",
    "num_envs": 2,
    "num_steps": 32,
    "num_minibatches": 1,
    "num_epochs": 1,
    "clip_range": 0.1,
    "clip_range_schedule": "linear",
    "total_steps": 250,
    "log_interval": 64,
    "checkpoint_interval": 64,
    "checkpoints_kept": 100,
    "video_interval": 200,
    "max_frames_per_game": 240,
}
PONG_STEPS = [64, 128, 192, 256]
CART = {
    "env_id": "CartPole-v1",
    "network": "mlp",
    "num_envs": 2,
    "num_steps": 16,
    "num_minibatches": 2,
    "num_epochs": 1,
    "clip_range": 0.1,
    "clip_range_schedule": "linear",
    "seed": 1,
    "threads": 1,
    "log_interval": 32,
    "checkpoint_interval": 320,
    "checkpoints_kept": 100,
}
CART_BATCH = 32


@dataclass
class Done:
    code: int | str
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """Without the settings of the tests' own TensorFlow, to see its noise."""
    hushed = {name for name in os.environ if name.startswith(("TF_CPP", "TF_ENABLE", "KERAS_"))}
    return {name: value for name, value in os.environ.items() if name not in hushed} | more


def command(cwd: Path, *arguments: str | Path, **more: str) -> Done:
    line = [sys.executable, str(COMMAND), *map(str, arguments)]
    pipe = subprocess.PIPE
    done = subprocess.run(
        line, cwd=cwd, env=environment(**more), stdout=pipe, stderr=pipe, text=True, timeout=300
    )
    return Done(done.returncode, done.stdout, done.stderr)


def answer(cwd: Path, *arguments: str | Path) -> Done:
    """What the command answers in this process, which has TensorFlow."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run_atari.main(list(map(str, arguments)))
        except SystemExit as end:
            code = end.code
    return Done(code, out.getvalue(), err.getvalue())


# Several command lines one after another, as the shell would give them, after one start.
SEVERAL = """
import contextlib, io, json, os, sys, traceback
sys.path.insert(0, sys.argv[1])
import run_atari
results = {}
for name, (cwd, arguments) in json.load(sys.stdin).items():
    out, err = io.StringIO(), io.StringIO()
    os.chdir(cwd)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run_atari.main(arguments)
        except SystemExit as end:
            code = end.code
        except BaseException:
            code = traceback.format_exc()
    results[name] = code, out.getvalue(), err.getvalue()
print("RESULTS" + json.dumps(results))
"""


def commands(lines: dict[str, tuple[Path, list[str]]], **more: str) -> dict[str, Done]:
    given = {name: (str(cwd), arguments) for name, (cwd, arguments) in lines.items()}
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, str(ROOT)],
        input=json.dumps(given),
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "RESULTS" in done.stdout, done.stderr
    results = json.loads(done.stdout.split("RESULTS")[1])
    return {name: Done(*result) for name, result in results.items()}


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def settings_file(folder: Path, settings: dict) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps(settings))
    return path


def rows(run: Path) -> list[dict[str, str]]:
    with open(run / "progress.csv", newline="") as file:
        return list(csv.DictReader(file))


def steps_of(run: Path) -> list[int]:
    return [int(row["step"]) for row in rows(run)]


def tensorboard(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(
        str(run), tensor_size_guidance={"scalars": 0, "text": 0, "images": 0}
    )
    accumulator.Reload()
    return accumulator


def checkpoint_steps(run: Path) -> list[int]:
    # Not those that are being written, under another name.
    return sorted(int(path.stem[5:]) for path in (run / "checkpoints").glob("step-*.ckpt"))


def saved_at(run: Path, step: int) -> checkpoint.Checkpoint:
    return decode((run / "checkpoints" / f"step-{step:012d}.ckpt").read_bytes())


# --- what is answered without TensorFlow


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory) -> str:
    """A PYTHONPATH with which importing TensorFlow or Keras fails."""
    folder = tmp_path_factory.mktemp("poisoned")
    for name in ("tensorflow", "keras"):
        (folder / f"{name}.py").write_text("raise ImportError('not to be imported')\n")
    return str(folder)


# Command line, and what its message must hold; a case runs in a folder of its own, with a sound
# and a bad settings file, a folder with a run, and one that is empty.
USAGE = {
    "no arguments": ([], "a command is needed"),
    "nothing to do": (["--logdir=empty"], "a command is needed"),
    "unknown option": (["--logdir=new", "--pfile=sound.json", "--speed=9"], "--speed"),
    "shortened option": (["--logd=new", "--pfile=sound.json"], "did you mean --logdir?"),
    "no folder": (["--resume"], "--logdir"),
    "two things to do": (["--logdir=new", "--pfile=sound.json", "--resume"], "not allowed"),
    "no games": (["--logdir=run", "--evaluate", "0"], "--evaluate"),
    "games that are no number": (["--logdir=run", "--watch", "many"], "many"),
    "evaluation with settings": (["--logdir=run", "--evaluate", "--set", "gamma=0.5"], "--set"),
    "no such checkpoint": (["--logdir=run", "--evaluate", "--checkpoint=worst"], "worst"),
    "a panel without a video": (["--logdir=run", "--evaluate", "--plain"], "--plain"),
    "a GIF of no time": (["--logdir=run", "--watch", "--gif=0"], "--gif"),
    "no such policy": (["--logdir=run", "--watch", "--policy=random"], "--policy"),
    "seed out of range": (["--logdir=run", "--evaluate", "--seed=2147483648"], "--seed"),
    "seed of a training": (["--logdir=new", "--pfile=sound.json", "--seed=1"], "--seed goes with"),
    "checkpoint of a resume": (["--logdir=run", "--resume", "--checkpoint=0"], "--checkpoint goes"),
}
REFUSED = {
    "bad settings": (["--logdir=new", "--pfile=bad.json"], "gamma = 2"),
    "bad override": (["--logdir=new", "--pfile=sound.json", "--set", "gama=1"], "mean gamma?"),
    "no settings file": (["--logdir=new", "--pfile=absent.json"], "absent.json"),
    "unknown game": (["--logdir=new", "--pfile=sound.json", "--set", "env_id=Pongg"], "Pong"),
    "network that does not fit": (
        ["--logdir=new", "--pfile=sound.json", "--set", "network=mlp"],
        "network",
    ),
    "folder with a run": (["--logdir=run", "--pfile=sound.json"], "--resume"),
    "folder with a letter": (["--logdir=letters", "--pfile=sound.json"], "letters-2"),
    "file in place of a folder": (["--logdir=sound.json", "--pfile=sound.json"], "is a file"),
    "resume of no folder": (["--logdir=new", "--resume"], "holds no run"),
    "resume of an empty folder": (["--logdir=empty", "--resume"], "holds no run"),
    "resume with a bad override": (["--logdir=run", "--resume", "--set", "gamma=2"], "gamma = 2"),
    "evaluation of no run": (["--logdir=empty", "--evaluate", "2"], "holds no run"),
    "video of no run": (["--logdir=new", "--watch"], "holds no run"),
    "film of no run": (["--logdir=new", "--film"], "holds no run"),
    "board of no folder": (["--logdir=new", "--board"], "holds no run that TensorBoard can show"),
    "board of a run without a log": (["--logdir=run", "--board"], "events.out.tfevents"),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory, poisoned) -> dict[str, tuple[Done, bool]]:
    """Every refused command line: what it said, and whether it left all files as they were."""
    top = tmp_path_factory.mktemp("refusals")
    lines, before = {}, {}
    for name, (arguments, _) in (USAGE | REFUSED).items():
        place = top / name.replace(" ", "-")
        for folder in ("run", "run/replays", "empty", "letters"):
            (place / folder).mkdir(parents=True)
        (place / "letters" / "dear.txt").write_text("dear")
        (place / "run" / "params.json").write_text(Params(seed=1, threads=1).to_json())
        (place / "run" / "progress.csv").write_text("step\n")
        (place / "sound.json").write_text(json.dumps(PONG))
        (place / "bad.json").write_text('{"gamma": 2, "env_id": "Pongg", "colour": "red"}')
        lines[name], before[name] = (place, arguments), tree(place)
    done = commands(lines, PYTHONPATH=poisoned)
    return {name: (done[name], tree(lines[name][0]) == before[name]) for name in lines}


@pytest.mark.parametrize("name", USAGE | REFUSED)
def test_refused_command_ends_with_two_and_says_why(refusals, name):
    done, _ = refusals[name]
    assert done.code == 2, done
    assert (USAGE | REFUSED)[name][1] in done.err
    assert done.out == ""


@pytest.mark.parametrize("name", USAGE | REFUSED)
def test_refused_command_creates_and_changes_nothing(refusals, name):
    assert refusals[name][1]


def test_faults_of_settings_and_game_are_listed_together(refusals):
    lines = refusals["bad settings"][0].err.splitlines()
    assert len(lines) == 3
    for part in ("gamma = 2", "did you mean Pong", "colour"):
        assert any(part in line for line in lines)


def test_folder_with_a_run_is_refused_with_a_free_name(refusals):
    assert "run-2" in refusals["folder with a run"][0].err


def test_help_answers_without_tensorflow(tmp_path, poisoned):
    done = command(tmp_path, "--help", PYTHONPATH=poisoned)
    assert (done.code, done.err) == (0, "")
    for option in ("--logdir", "--pfile", "--resume", "--evaluate", "--watch", "--set"):
        assert option in done.out
    assert tree(tmp_path) == {}


def test_settings_are_described_without_tensorflow(tmp_path, poisoned):
    done = command(tmp_path, "--describe-params", PYTHONPATH=poisoned)
    assert (done.code, done.out, done.err) == (0, describe.text(), "")


def test_the_schema_of_settings_is_printed_without_tensorflow(tmp_path, poisoned):
    done = command(tmp_path, "--describe-params=schema", PYTHONPATH=poisoned)
    assert (done.code, done.out, done.err) == (0, describe.schema(), "")


def test_a_game_is_trained_without_a_params_file(tmp_path):
    settings = {**CART, "total_steps": CART_BATCH}
    given = [f"--set={k}={v}" for k, v in settings.items() if k not in ("env_id", "network")]
    done = answer(tmp_path, "--logdir=cart", "--env=CartPole-v1", *given)
    assert done.code == 0, done.err
    stored = json.loads((tmp_path / "cart" / "params.json").read_text())
    assert stored == {**Params().model_dump(), **stored, **settings}
    same = settings_file(tmp_path, settings)
    both = answer(tmp_path, "--logdir=two", "--env=CartPole-v1", f"--pfile={same}")
    assert both.code == 2 and "not allowed with" in both.err
    unknown = answer(tmp_path, "--logdir=no", "--env=Breakuot")
    assert unknown.code == 2 and "Breakout" in unknown.err and not (tmp_path / "no").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_before_the_run_has_begun_leaves_no_folder(tmp_path, number):
    line = [sys.executable, str(COMMAND), "--env=CartPole-v1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True) as process:
        wait_until((tmp_path / "runs" / "CartPole-1").exists)
        process.send_signal(number)  # TensorFlow is being imported
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and "interrupted" in err and "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_bad_settings_end_the_real_command_with_two_lines_and_no_trace(tmp_path, poisoned):
    path = settings_file(tmp_path, {"gamma": 2, "num_env": 8})
    done = command(tmp_path, "--logdir=new", f"--pfile={path}", PYTHONPATH=poisoned)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 2
    assert "Traceback" not in done.err
    assert not (tmp_path / "new").exists()


def test_poison_works(tmp_path, poisoned):
    done = command(
        tmp_path, "--logdir=new", f"--pfile={settings_file(tmp_path, PONG)}", PYTHONPATH=poisoned
    )
    assert done.code == 2 and "not to be imported" in done.err
    assert not (tmp_path / "new").exists()


# --- a whole run of Pong


@dataclass
class PongRun:
    path: Path
    cwd: Path
    trained: Done


@pytest.fixture(scope="module")
def pong(tmp_path_factory) -> PongRun:
    folder = tmp_path_factory.mktemp("pong")
    (folder / "cwd").mkdir()
    path = settings_file(folder, PONG)
    done = command(folder / "cwd", f"--logdir={folder / 'run'}", f"--pfile={path}")
    return PongRun(folder / "run", folder / "cwd", done)


@pytest.fixture(scope="module")
def evaluated(pong) -> tuple[PongRun, Done, dict[str, bytes | None]]:
    before = tree(pong.path)
    return pong, command(pong.cwd, f"--logdir={pong.path}", "--evaluate", "3"), before


@pytest.fixture(scope="module")
def watched(evaluated) -> tuple[PongRun, Done, dict[str, bytes | None]]:
    pong, _, _ = evaluated
    before = tree(pong.path)
    with open(pong.path / ".lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as if the run were in progress
        return pong, answer(pong.cwd, f"--logdir={pong.path}", "--watch", "2"), before


def test_training_ends_with_zero_at_whole_rollouts(pong):
    assert pong.trained.code == 0, pong.trained
    done, *block = pong.trained.out.splitlines()[-9:]
    assert done == "done, at step 256"
    assert [line.split()[0] for line in block] == [
        *("score", "best", "time", "folder", "evaluate", "watch", "board", "continue")
    ]
    assert block[3].split()[1] == str(pong.path)


def test_a_video_is_reported_and_shown_in_tensorboard(pong):
    movies = sorted((pong.path / "videos").iterdir())
    lines = [line for line in pong.trained.out.splitlines() if ": video, " in line]
    listed = {pong.path / line.split(": ")[-1] for line in lines}
    assert len(lines) == 2 and listed == set(movies)
    points = tensorboard(pong.path).Tensors("videos/training")
    for point, line in zip(points, lines, strict=True):
        width, height, gif = make_ndarray(point.tensor_proto).tolist()
        assert (width, height, gif[:6]) == (b"160", b"210", b"GIF89a")
        assert f"step {point.step}: " in line


def test_shares_of_the_actions_are_named(pong):
    names = [f"{n}_{name}" for n, name in enumerate(["NOOP", "FIRE", "RIGHT", "LEFT"])]
    tags = tensorboard(pong.path).PluginTagToContent("scalars")
    for name in names:
        assert f"actions/share_{name}" in tags and f"actions/share_{name}" in rows(pong.path)[0]


def test_output_into_a_pipe_has_a_plain_line_for_the_first_and_the_last_point(pong):
    lines = [line for line in pong.trained.out.splitlines() if re.match(r"[\d:]{8} step ", line)]
    steps = [int(re.search(r" step (\d+) of 256 ", line)[1]) for line in lines]
    assert steps[0] == PONG_STEPS[0] and steps[-1] == PONG_STEPS[-1]
    assert {*steps} <= {*PONG_STEPS}
    assert "\x1b" not in pong.trained.out


def test_seed_is_drawn_printed_and_stored_with_all_other_settings(pong):
    stored = json.loads((pong.path / "params.json").read_text())
    assert stored.keys() == Params.model_fields.keys()
    assert stored.items() >= PONG.items()
    assert f"seed {stored['seed']} " in pong.trained.out
    assert 0 <= stored["seed"] < 2**31
    assert stored["threads"] >= 1
    assert stored["sticky_action_probability"] == 0.0
    assert json.loads(params.load(pong.path / "params.json").to_json()) == stored


def test_run_holds_every_kind_of_file_and_nothing_half_made(pong):
    top = {path.name for path in pong.path.iterdir() if not path.name.startswith("events.")}
    assert top - {".lock"} == {"params.json", "checkpoints", "replays", "videos", "progress.csv"}
    assert len(list(pong.path.glob("events.out.tfevents.*"))) == 1
    assert not [path for path in pong.path.rglob("*") if "partial" in path.name]
    assert not list(pong.cwd.iterdir()), "files outside of the run's folder"


def test_checkpoints_begin_at_step_zero_and_are_all_sound(pong):
    assert checkpoint_steps(pong.path) == [0, *PONG_STEPS]
    for step in (0, *PONG_STEPS):
        assert saved_at(pong.path, step).step == step


def test_updates_were_counted_and_every_weight_moved(pong):
    assert [float(row["train/n_updates"]) for row in rows(pong.path)] == [1, 2, 3, 4]
    first, last = (saved_at(pong.path, step).group("weights") for step in (0, 256))
    assert len(first) == len(last) == 10  # kernel and bias of two convolutions, three dense layers
    for before, after in zip(first, last, strict=True):
        assert np.isfinite(after).all() and not np.array_equal(before, after)


def test_weights_of_the_newest_checkpoint_are_loaded(pong):
    loaded, last = load_weights(pong.path), saved_at(pong.path, 256).group("weights")
    assert all(np.array_equal(one, other) for one, other in zip(loaded, last, strict=True))


def test_csv_and_tensorboard_hold_the_same_points(pong):
    assert steps_of(pong.path) == PONG_STEPS
    found = tensorboard(pong.path)
    tags = set(found.PluginTagToContent("scalars"))
    assert {"train/loss", "train/approx_kl", "time/fps", "rollout/ep_rew_mean"} <= tags
    for tag in tags:
        cells = {int(row["step"]): row[tag] for row in rows(pong.path) if row[tag]}
        points = {p.step: float(make_ndarray(p.tensor_proto)) for p in found.Tensors(tag)}
        assert points.keys() == cells.keys()
        for step, value in points.items():
            assert math.isfinite(value) and value == np.float32(float(cells[step])), tag


def test_settings_are_shown_in_tensorboard(pong):
    found = tensorboard(pong.path)
    text = "params"
    assert set(found.PluginTagToContent("text")) == {text}
    shown = make_ndarray(found.Tensors(text)[0].tensor_proto).item().decode()
    for key in Params.model_fields:
        assert key in shown


def test_linear_schedules_fall_to_zero_at_the_rounded_total(pong):
    rates = [float(row["train/learning_rate"]) for row in rows(pong.path)]
    assert rates == pytest.approx([4e-4, 3e-4, 2e-4, 1e-4])
    clips = [float(row["train/clip_range"]) for row in rows(pong.path)]
    assert clips == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_steps_and_frames_are_counted_separately(pong):
    assert [float(row["time/frames"]) for row in rows(pong.path)] == [4 * s for s in PONG_STEPS]
    assert float(rows(pong.path)[-1]["rollout/ep_len_mean"]) == 60


REPLAY_KEYS = {
    *("game", "seed", "resets", "actions", "frame_skip", "sticky_action_probability", "noop_max"),
    *("fire_on_reset", "full_action_space", "max_frames_per_game", "score", "steps", "frames"),
}


def test_replay_has_the_keys_of_the_contract_and_plays_again_to_its_score(pong):
    paths = list((pong.path / "replays").iterdir())
    assert paths
    for path in paths:
        stored = json.loads(path.read_text())
        assert stored.keys() >= REPLAY_KEYS
        assert (stored["game"], stored["steps"], stored["frames"]) == ("pong", 60, 240)
        assert len(stored["actions"]) == 60
        again = replay.play(replay.load(path))
        assert (again.score, again.frames) == (stored["score"], stored["frames"])


def test_training_videos_are_named_by_the_steps_that_played_them(pong):
    spans = [path.stem for path in sorted((pong.path / "videos").iterdir())]
    # A game has 60 steps in one of two envs. The game of step 200 began at step 120.
    assert [re.sub("score_.*", "", span) for span in spans] == [
        "step-000000000000-untrained-",
        "step-000000000120-to-000000000240-",
    ]


def test_the_first_video_is_of_the_untrained_policy(pong):
    (path,) = (pong.path / "replays").glob("*untrained*")
    kept = replay.load(path)
    assert (kept.model_extra["step"], kept.model_extra["policy"]) == (0, "sampled")


def test_every_video_decodes_to_the_frames_of_its_replay_and_the_held_end(watched):
    run = watched[0].path
    videos = list((run / "videos").iterdir())
    assert {path.suffix for path in videos} == {".mp4"}
    assert len(videos) == 4  # two of the training, two of --watch
    for path in videos:
        frames = json.loads((run / "replays" / f"{path.stem}.json").read_text())["frames"]
        pictures, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
        assert pictures == frames + 120
        assert seconds == pytest.approx(frames / 60 + 2, abs=0.05)


def evaluations(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]


def listed(done: Done) -> dict[str, list[str]]:
    """The rows of what an evaluation prints into a pipe."""
    return {name: cells for name, *cells in (line.split("\t") for line in done.out.splitlines())}


def test_evaluation_prints_what_it_stores_side_by_side(evaluated):
    pong, done, _ = evaluated
    assert done.code == 0, done
    rows, stored = listed(done), evaluations(pong.path)
    assert rows["PongNoFrameskip-v4"] == [line["policy"] for line in stored]
    assert rows["mean score"] == [f"{line['mean']:.2f}" for line in stored]
    lows = [f"{line['low']:.2f}" if len({*line["scores"]}) > 1 else "-" for line in stored]
    assert rows["95 percent interval, low"] == lows
    assert rows["seed of the games"] == [str(line["seed"]) for line in stored]
    assert rows["games"] == ["3", "3"] and rows["mean length in steps"] == ["60", "60"]
    assert rows["ended by the time limit"] == ["3 of 3", "3 of 3"]


def test_evaluation_is_stored_with_the_keys_of_the_contract(evaluated):
    pong, _, _ = evaluated
    sampled, greedy = evaluations(pong.path)
    assert (sampled["policy"], greedy["policy"]) == ("sampled", "greedy")
    assert sampled["seed"] == greedy["seed"]
    for stored in (sampled, greedy):
        assert stored["step"] == 256 and isinstance(stored["seed"], int)
        assert len(stored["scores"]) == 3 and stored["lengths"] == [60] * 3
        assert stored["time_limited"] == 3
        assert stored["mean"] == pytest.approx(np.mean(stored["scores"]))
        assert stored["low"] <= stored["mean"] <= stored["high"]
        assert stored["human_normalized"] == pytest.approx((stored["mean"] + 20.7) / 35.3)


def test_evaluation_names_the_replays_of_the_best_the_median_and_the_worst_game(evaluated):
    pong, done, _ = evaluated
    for number, stored in enumerate(evaluations(pong.path)):
        worst, median, best = sorted(stored["scores"])
        for name, score in (("best", best), ("median", median), ("worst", worst)):
            path = Path(listed(done)[f"{name} replay"][number])
            assert path == pong.path / "replays" / stored["replays"][name]
            found = replay.load(path)
            assert (found.score, found.model_extra["policy"]) == (score, stored["policy"])


def test_evaluation_leaves_the_run_itself_alone(evaluated):
    pong, _, before = evaluated
    after = tree(pong.path)
    assert {name: after[name] for name in before} == before


def test_watching_makes_a_video_and_says_where(watched):
    pong, done, before = watched
    assert done.code == 0, done
    new = [path for path in (pong.path / "videos").iterdir() if f"videos/{path.name}" not in before]
    assert len(new) == 2
    for path in new:
        assert str(path) in done.out
        score = replay.load(pong.path / "replays" / f"{path.stem}.json").score
        assert path.stem.endswith(f"-score_{score:g}")
        meta = next(imageio_ffmpeg.read_frames(str(path)))
        assert meta["size"] == (1360, 840)  # with the panel


def test_runs_that_end_well_write_nothing_to_stderr(pong, evaluated, watched):
    assert [pong.trained.err, evaluated[1].err, watched[1].err] == ["", "", ""]


def test_watching_leaves_the_games_of_an_evaluation_alone(watched):
    pong, _, before = watched
    after = tree(pong.path)
    assert {name: after[name] for name in before} == before


# --- a run of CartPole that is killed, resumed, stopped, resumed to its end


@dataclass
class CartRun:
    path: Path
    ahead: tuple[int, int]  # newest checkpoint and last point of the log when it was killed
    stopped: Done
    stopped_at: int
    stopped_rows: list[int]
    finished: Done
    total: int


def wait_for(process: Forked, condition) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cart(tmp_path_factory) -> CartRun:
    top = tmp_path_factory.mktemp("cart")
    run = top / "run"

    def newest_and_last() -> tuple[int, int]:
        if not (run / "progress.csv").exists() or len(rows(run)) < 2:
            return 0, 0
        # The last row may be half written.
        return checkpoint_steps(run)[-1], steps_of(run)[-2]

    def log_is_ahead() -> bool:
        newest, last = newest_and_last()
        return newest > 0 and last >= newest + 2 * CART_BATCH

    pfile = settings_file(top, CART | {"total_steps": 10**7})
    with Forked([f"--logdir={run}", f"--pfile={pfile}"], top) as process:
        wait_for(process, log_is_ahead)
        process.send_signal(signal.SIGKILL)
        process.wait()
        ahead = newest_and_last()

    with Forked([f"--logdir={run}", "--resume"], top) as process:
        wait_for(process, lambda: len(rows(run)) > 2 and steps_of(run)[-2] > ahead[1])
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        stopped = Done(process.returncode, out, err)
    stopped_at, stopped_rows = checkpoint_steps(run)[-1], steps_of(run)
    total = stopped_at + 5 * CART_BATCH
    with Forked([f"--logdir={run}", "--resume", "--set", f"total_steps={total}"], top) as process:
        out, err = process.communicate()
        finished = Done(process.returncode, out, err)
    return CartRun(run, ahead, stopped, stopped_at, stopped_rows, finished, total)


def test_killed_run_had_written_points_after_its_checkpoint(cart):
    newest, last = cart.ahead
    assert 0 < newest < last


def test_resume_after_a_kill_continues_from_the_newest_checkpoint(cart):
    assert f"resuming from step {cart.ahead[0]:,}" in cart.stopped.out
    assert "done" not in cart.stopped.out


def test_stopped_run_ends_with_three_and_has_saved_everything(cart):
    assert cart.stopped.code == 3
    stopped, again = cart.stopped.err.splitlines()
    assert stopped == f"stopped at step {cart.stopped_at:,}; everything is saved"
    assert again.split(maxsplit=1)[0] == "continue"
    assert again.endswith(f"--logdir={cart.path} --resume")
    assert cart.stopped_rows[-1] == cart.stopped_at
    assert saved_at(cart.path, cart.stopped_at).step == cart.stopped_at


def test_resume_after_a_stop_continues_to_the_new_end(cart):
    assert (cart.finished.code, cart.finished.err) == (0, "")
    lines = cart.finished.out.splitlines()
    assert f"resuming from step {cart.stopped_at:,}" in lines
    assert f"done, at step {cart.total:,}" in lines
    assert [line for line in lines if line.startswith("  time ") and line.endswith(" in all")]
    assert not [line for line in lines if "--watch" in line]  # there is no picture of it
    assert params.load(cart.path / "params.json").total_steps == cart.total


def test_resume_with_another_total_shows_rate_and_clip_range_before_and_after(cart):
    share_before, share_now = 1 - cart.stopped_at / 10**7, 1 - cart.stopped_at / cart.total
    for name, value in (("learning rate", 4e-4), ("clip range", 0.1)):
        before, now = (f"{value * share:.3g}" for share in (share_before, share_now))
        listed = f"{name} at this step: {before} before, now {now}"
        assert listed in cart.finished.out.splitlines()


def test_curves_have_each_step_once_after_a_kill_a_stop_and_an_extension(cart):
    expected = list(range(CART_BATCH, cart.total + 1, CART_BATCH))
    assert steps_of(cart.path) == expected
    found = tensorboard(cart.path)
    for tag in ("train/loss", "time/fps", "rollout/games"):
        assert [point.step for point in found.Tensors(tag)] == expected


def test_counts_continue_where_they_were(cart):
    games = [float(row["rollout/games"]) for row in rows(cart.path)]
    assert games == sorted(games) and games[-1] > 0
    assert [float(row["train/n_updates"]) for row in rows(cart.path)] == list(
        range(1, len(games) + 1)
    )


# --- further commands on copies of that run, in this process


@dataclass
class Case:
    done: Done
    path: Path
    before: dict[str, bytes | None]
    after: dict[str, bytes | None]


def damage(run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])


def edit_settings(run: Path, **changes: object) -> None:
    stored = json.loads((run / "params.json").read_text())
    (run / "params.json").write_text(json.dumps(stored | changes))


def as_if_killed_before_the_second_checkpoint(run: Path) -> None:
    for path in (run / "checkpoints").iterdir():
        if path.stem != f"step-{0:012d}":
            path.unlink()
    edit_settings(run, total_steps=CART_BATCH)


def as_if_its_games_had_shown_something_else(run: Path) -> None:
    saved = checkpoint.newest(RunFolder(run))
    facts = saved.trainer.model_copy(update={"observations": saved.trainer.observations ^ 1})
    checkpoint.save(RunFolder(run), replace(saved, trainer=facts), kept=100)


CASES = {
    "finished": ["--resume"],
    "finished, changed": ["--resume", "--set=gamma=0.9", "--set=video_interval=7"],
    "finished, shortened": ["--resume", "--set=total_steps=1"],
    "misfit": ["--resume", "--set", "num_envs=4", "--set", "env_id=Acrobot-v1", "--set=gamma=0.5"],
    "in use": ["--resume"],
    "evaluation in use": ["--evaluate", "1"],
    "evaluation of unsound": ["--evaluate", "1"],
    "newest unsound": ["--evaluate", "1", "--policy=sampled"],
    "seeds": ["--evaluate", "1", "--checkpoint=0", "--policy=greedy", "--seed=7"],
    "seeds again": ["--evaluate", "1", "--checkpoint=0", "--policy=greedy", "--seed=7"],
    "no seed": ["--evaluate", "1", "--policy=greedy"],
    "no seed again": ["--evaluate", "1", "--policy=greedy"],
    "best checkpoint": ["--evaluate", "1", "--checkpoint=best"],
    "absent checkpoint": ["--evaluate", "1", "--checkpoint=7"],
    "foreign checkpoint": ["--resume"],
    "no picture": ["--watch", "1"],
    "diverging": ["--resume", "--set", "value_coef=1e38"],
    "killed early": ["--resume"],
    "games differ": ["--resume"],
    "games differ, new ones": ["--resume", "--new-games"],
}


@pytest.fixture(scope="module")
def cases(cart, tmp_path_factory) -> dict[str, Case]:
    top = tmp_path_factory.mktemp("cases")
    paths = {name: top / name.replace(" ", "-") for name in CASES}
    for path in paths.values():
        shutil.copytree(cart.path, path)
    damage(paths["evaluation of unsound"])
    newest = paths["newest unsound"] / "checkpoints" / f"step-{cart.total:012d}.ckpt"
    newest.write_bytes(b"")
    edit_settings(paths["foreign checkpoint"], env_id="Acrobot-v1")
    as_if_killed_before_the_second_checkpoint(paths["killed early"])
    for name in ("games differ", "games differ, new ones"):
        as_if_its_games_had_shown_something_else(paths[name])
    often = {"evaluation_interval": 32, "evaluation_games": 1, "log_interval": 10**6}
    evaluating = CART | often | {"total_steps": 64}
    settings = settings_file(top, evaluating)
    before = {name: tree(path) for name, path in paths.items()}
    lines = {name: (top, [f"--logdir={paths[name]}", *CASES[name]]) for name in CASES}
    for name in ("diverging", "games differ", "games differ, new ones"):
        lines[name][1].append(f"--set=total_steps={cart.total + CART_BATCH}")
    lines["evaluating"] = (top, [f"--logdir={top / 'evaluating'}", f"--pfile={settings}"])
    paths["evaluating"], before["evaluating"] = top / "evaluating", {}
    with (
        open(paths["in use"] / ".lock", "ab") as one,
        open(paths["evaluation in use"] / ".lock", "ab") as other,
    ):
        for lock in (one, other):
            fcntl.flock(lock, fcntl.LOCK_EX)
        done = {name: answer(cwd, *arguments) for name, (cwd, arguments) in lines.items()}
    return {name: Case(done[name], paths[name], before[name], tree(paths[name])) for name in lines}


def test_resume_of_a_finished_run_says_so_and_changes_nothing(cases, cart):
    case = cases["finished"]
    assert case.done.code == 0, case.done
    assert "done" in case.done.out and f"{cart.total:,}" in case.done.out
    assert case.after == case.before


def test_resume_of_a_finished_run_says_how_to_continue_it(cases, cart):
    done = cases["finished"].done
    assert f"--resume --set total_steps={2 * cart.total}" in done.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "keys"),
    [("finished, changed", "gamma, video_interval"), ("finished, shortened", "total_steps")],
)
def test_settings_that_a_finished_run_would_ignore_are_refused(name, keys, cases, cart):
    case = cases[name]
    assert (case.done.code, case.done.out) == (2, "")
    assert f"is done at step {cart.total:,}" in case.done.err
    assert {*keys.split(", ")} == {*re.search("so (.*) would", case.done.err)[1].split(", ")}
    assert f"--set total_steps={2 * cart.total}" in case.done.err
    assert case.after == case.before


def test_resume_that_does_not_fit_is_refused_naming_each_setting(cases):
    case = cases["misfit"]
    assert case.done.code == 2, case.done
    lines = case.done.err.splitlines()
    assert len(lines) == 2
    assert any("num_envs" in line for line in lines) and any("env_id" in line for line in lines)
    assert case.after == case.before


def test_folder_in_use_is_refused_and_left_alone(cases):
    case = cases["in use"]
    assert case.done.code == 2, case.done
    assert "in use" in case.done.err and str(case.path) in case.done.err
    assert case.after == case.before


def test_run_in_progress_is_evaluated(cases, cart):
    case = cases["evaluation in use"]
    assert (case.done.code, case.done.err) == (0, "")
    assert [line["step"] for line in evaluations(case.path)] == [cart.total] * 2
    assert {name: case.after[name] for name in case.before} == case.before


def test_the_same_seed_gives_the_same_games_of_the_checkpoint_that_was_asked_for(cases):
    (one,), (same,) = (evaluations(cases[name].path) for name in ("seeds", "seeds again"))
    assert one == same
    assert (one["step"], one["seed"], one["policy"]) == (0, 7, "greedy")


def test_without_a_seed_each_evaluation_plays_new_games_and_stores_their_seed(cases):
    (one,), (other,) = (evaluations(cases[name].path) for name in ("no seed", "no seed again"))
    assert one["seed"] != other["seed"]
    assert listed(cases["no seed"].done)["seed of the games"] == [str(one["seed"])]


def test_best_checkpoint_has_the_best_score(cases):
    case = cases["best checkpoint"]
    assert case.done.code == 0, case.done
    best = decode((case.path / "checkpoints" / "best.ckpt").read_bytes())
    assert [line["step"] for line in evaluations(case.path)] == [best.step] * 2


def test_checkpoint_that_is_not_there_is_refused_with_those_that_are(cases, cart):
    case = cases["absent checkpoint"]
    assert case.done.code == 2, case.done
    assert "no checkpoint of step 7" in case.done.err and f"{cart.total:,}" in case.done.err
    assert case.after == case.before


def test_without_a_sound_checkpoint_an_evaluation_fails_and_leaves_files_alone(cases):
    case = cases["evaluation of unsound"]
    assert case.done.code == 1, case.done
    assert "is valid" in case.done.err
    assert case.after == case.before


def test_unsound_newest_checkpoint_is_passed_over_with_a_warning(cases, cart):
    case = cases["newest unsound"]
    assert case.done.code == 0, case.done
    assert f"step-{cart.total:012d}.ckpt" in case.done.out + case.done.err
    stored = json.loads((case.path / "evaluations.jsonl").read_text())
    assert stored["step"] == checkpoint_steps(case.path)[-2]


def test_checkpoint_that_does_not_fit_the_settings_is_refused(cases):
    case = cases["foreign checkpoint"]
    assert case.done.code == 2, case.done
    assert case.after == case.before


def test_games_that_do_not_go_as_they_went_are_refused_unless_new_ones_may_begin(cases, cart):
    refused = cases["games differ"]
    assert refused.done.code == 2, refused.done
    assert "do not show" in refused.done.err and "--new-games" in refused.done.err
    assert refused.after == refused.before

    allowed = cases["games differ, new ones"]
    assert (allowed.done.code, allowed.done.err) == (0, "")
    assert "new games begin in their place" in allowed.done.out
    assert steps_of(allowed.path)[-1] == checkpoint_steps(allowed.path)[-1]
    assert checkpoint_steps(allowed.path)[-1] == cart.total + CART_BATCH


def test_game_without_an_image_cannot_be_watched(cases):
    case = cases["no picture"]
    assert case.done.code == 2, case.done
    assert "CartPole-v1" in case.done.err


def test_diverged_run_ends_with_four_and_keeps_the_last_sound_checkpoint(cases, cart):
    case = cases["diverging"]
    assert case.done.code == 4, case.done
    assert "not finite" in case.done.err
    saved = checkpoint.newest(RunFolder(case.path))
    assert saved.step == cart.total
    assert all(np.isfinite(array).all() for array in saved.group("weights"))
    (batch,) = case.path.glob("diverged-*.npz")
    assert str(batch) in case.done.out


def test_run_killed_before_its_second_checkpoint_begins_again(cases):
    case = cases["killed early"]
    assert case.done.code == 0, case.done
    assert steps_of(case.path) == [CART_BATCH]
    assert [p.step for p in tensorboard(case.path).Tensors("train/loss")] == [CART_BATCH]


def test_run_killed_before_its_second_checkpoint_still_shows_its_settings(cases):
    assert tensorboard(cases["killed early"].path).PluginTagToContent("text")


def test_run_with_evaluations_ends_well(cases):
    assert (cases["evaluating"].done.code, cases["evaluating"].done.err) == (0, "")


def test_score_of_an_evaluation_is_at_its_own_step(cases):
    cells = {int(row["step"]): row["eval/mean_reward"] for row in rows(cases["evaluating"].path)}
    assert cells[32] and cells[64]


def test_training_into_the_working_folder_with_a_run_is_refused(tmp_path, poisoned):
    (tmp_path / "params.json").write_text("{}")
    done = command(
        tmp_path, "--logdir=.", f"--pfile={settings_file(tmp_path, PONG)}", PYTHONPATH=poisoned
    )
    assert done.code == 2, done
