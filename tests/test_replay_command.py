import json
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import pytest

from ppo.envs.registry import resolved
from ppo.evaluate.film import clips
from ppo.files.folder import FolderError, RunFolder
from ppo.replay.__main__ import main
from ppo.replay.replay import Replay, save
from ppo.runs.videographer import Videographer
from ppo.settings import Params
from tests.rules import played, rules_for

BERZERK = rules_for("berzerk", max_frames_per_game=123)


@pytest.fixture(scope="module")
def replay() -> Replay:
    """A game of random actions, 31 steps, the last one cut short."""
    return Replay.from_episode(played(BERZERK), BERZERK)


@pytest.fixture
def file(replay: Replay, tmp_path: Path) -> Path:
    save(tmp_path / "game.json", replay)
    return tmp_path / "game.json"


def changed(file: Path, name: str, **changes) -> Path:
    path = file.with_name(name)
    path.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path


def test_game_that_goes_as_it_went_agrees(file, replay, capsys):
    assert main([str(file)]) == 0
    message = f"agrees: score {replay.score:g}, steps 31, frames 123, last observation "
    assert capsys.readouterr().out == f"{file}: {message}{replay.last_observation:08x}\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": 9000.0}, "(recorded: 9000)"),
        ({"steps": 30}, "steps 31 (recorded: 30)"),
        ({"last_observation": 1}, "(recorded: 00000001)"),
        ({"actions": [0] * 20}, "the game continues after its 20 steps"),
        ({"actions": [0] * 40}, "the game ended after 31 of 40 steps"),
        ({"actions": [99] * 31}, "action 99 is out of range"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_game_that_goes_differently_is_reported_and_the_others_are_played(
    file, changes, message, capsys
):
    wrong = changed(file, "wrong.json", **changes)
    assert main([str(wrong), str(file)]) == 1
    one, other = capsys.readouterr().out.splitlines()
    assert one.startswith(f"{wrong}: DIFFERS: ") and message in one
    assert other.startswith(f"{file}: agrees: ")


def test_output_may_be_read_in_part(file):
    line = [sys.executable, "-m", "ppo.replay", str(file), str(file)]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdout=pipe, stderr=pipe, cwd=Path(__file__).parents[1]) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_game_that_cannot_be_played_is_not_reported_as_one_that_differs(file, capsys):
    other = changed(file, "other.json", game="no_such_game")
    assert main([str(other), str(file)]) == 1
    one, two = capsys.readouterr().out.splitlines()
    assert one.startswith(f"{other}: not played: ") and ": agrees: " in two


def test_older_replay_has_no_last_frame_to_compare(file, capsys):
    older = changed(file, "older.json", last_observation=None)
    assert main([str(older)]) == 0
    assert capsys.readouterr().out.endswith(" (not recorded)\n")


def test_video_has_an_image_for_each_frame_and_two_seconds_of_the_end(file, tmp_path, capsys):
    video = tmp_path / "game.mp4"
    assert main([str(file), "--video", str(video)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == f"{video}: 243 frames"
    assert imageio_ffmpeg.count_frames_and_secs(str(video))[0] == 123 + 120


def test_game_that_differs_makes_no_video(file, tmp_path):
    wrong = changed(file, "wrong.json", score=-1.0)
    assert main([str(wrong), "--video", str(tmp_path / "game.mp4")]) == 1
    assert not (tmp_path / "game.mp4").exists()


def test_all_faults_are_listed_at_once_and_nothing_is_played(file, tmp_path, capsys):
    (tmp_path / "letter.json").write_text("dear")
    before = sorted(tmp_path.iterdir())
    video = tmp_path / "absent" / "game.avi"
    names = [str(file), str(tmp_path / "letter.json"), str(tmp_path / "none.json")]
    assert main([*names, "--video", str(video)]) == 2
    message = capsys.readouterr()
    assert message.out == "" and sorted(tmp_path.iterdir()) == before
    for part, line in zip(
        ("letter.json is no replay", "none.json", "3 files", "ends in .mp4", "no folder"),
        message.err.splitlines(),
        strict=True,
    ):
        assert part in line


@pytest.fixture
def module(tmp_path: Path, monkeypatch) -> Path:
    """A module that nobody trusts; where it is imported, it leaves the file that is returned."""
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "planted_game.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('imported').touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "planted")
    return tmp_path / "planted" / "imported"


def in_run(file: Path, settings: dict) -> Path:
    """Return a replay that names the module, in the folder of a run."""
    run = file.with_name("run")
    (run / "replays").mkdir(parents=True)
    (run / "params.json").write_text(json.dumps(settings))
    path = changed(file, "planted.json", game="planted_game:Game-v0")
    return path.rename(run / "replays" / "step-000000000000-to-000000000031-score_0.json")


def test_a_replay_has_no_module_imported_that_its_run_does_not_name(file, module, capsys):
    for path in (
        changed(file, "alone.json", game="planted_game:Game-v0"),
        in_run(file, {"env_id": "Pong"}),
    ):
        assert main([str(path), str(file)]) == 2
        message = capsys.readouterr()
        assert f"{path}: " in message.err and "--env=planted_game:Game-v0" in message.err
        assert message.out == "" and not module.exists()


@pytest.mark.parametrize("by", ["argument", "run"])
def test_a_replay_has_the_module_imported_that_its_run_or_the_user_names(file, module, by):
    env_id = "planted_game:Game-v0"
    path = in_run(file, {"env_id": env_id if by == "run" else "Pong", "network": "mlp"})
    assert main([str(path), *([f"--env={env_id}"] if by == "argument" else [])]) == 1
    assert module.exists()


def test_a_run_s_videos_and_film_have_no_other_module_imported(file, module):
    path = in_run(file, {"env_id": "Pong"})
    folder, said = RunFolder(path.parents[1]), []
    params = resolved(Params(env_id="Pong", seed=0, threads=1))
    videographer = Videographer(params, "sampled", folder, None, said.append, print)
    videographer.record_missing(100)
    videographer.cut(31)
    with pytest.raises(FolderError, match="has 0"):
        clips(folder)
    assert "planted_game" in said[0] and len(said) == 1
    assert path.exists() and not module.exists()
