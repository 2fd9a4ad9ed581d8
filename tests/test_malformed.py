"""Malformed files by the hundred. Settings and checkpoints are given to the command, as a user
would: one message, no traceback, no file created or changed; replays to what reads and plays them.
"""

import contextlib
import hashlib
import io
import json
import re
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings

import run_atari
from ppo import params
from ppo.drill import __main__ as drill
from ppo.envs import checks
from ppo.files.folder import RunFolder
from ppo.replay import replay
from ppo.settings import Params
from tests.light.test_params import KEYS, SOUND, VALUES

MANY = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FEWER = settings(MANY, max_examples=60)  # some build a network

CART = drill.SHORT_CART_POLE | {"threads": 2}


def refused(capsys, folder: Path, *arguments: str) -> int:
    """Run the command, check what is promised of every refusal, and return its exit code."""
    before = drill.snapshot(folder)
    code = run_atari.main(list(arguments))
    captured = capsys.readouterr()
    assert code in (1, 2)
    # Some key may be the word itself; then it appears in the message, but in quotes.
    assert not re.search("^Traceback", captured.out + captured.err, re.MULTILINE)
    assert captured.err.strip()
    assert drill.snapshot(folder) == before
    return code


@given(sound=SOUND, noise=st.dictionaries(KEYS, VALUES, min_size=1, max_size=4))
@example(sound={}, noise={"Traceback": None})
@MANY
def test_params_file(tmp_path, capsys, sound, noise):
    pfile = tmp_path / "params.json"
    pfile.write_text(json.dumps(sound | noise))
    try:
        params.load(pfile, checks=[checks.check])
    except params.ParamsError:
        pass
    else:
        assume(False)
    logdir = tmp_path / "run"
    assert refused(capsys, tmp_path, f"--logdir={logdir}", f"--pfile={pfile}") == 2


@pytest.fixture(scope="module")
def cart(tmp_path_factory) -> Path:
    logdir = tmp_path_factory.mktemp("cart") / "run"
    assert drill.run(logdir, CART | {"total_steps": 512, "checkpoints_kept": 1})[0] == 0
    return logdir


def with_checkpoint(cart: Path, content: bytes) -> Path:
    for path in RunFolder(cart).checkpoints.glob("*.ckpt"):
        path.write_bytes(content)
    return cart


ARRAYS = st.lists(st.integers(0, 255), max_size=4).map(np.array)
NAMES = st.sampled_from(["weights/0", "adam/0", "actions/0", "smoothed"]) | st.text(max_size=4)
TRAINER = ["tally", "iteration", "epochs", "games_played", "best_score", "recent", "unfinished"]
SESSION = ["best_saved", "seconds", "means", "due", "guard", "params", "versions", "schedules"]
PARTS = ["run", "log", "evaluation", "video", "replay_check", "guard", "unknown"]
FACTS = st.dictionaries(st.sampled_from([*TRAINER, *SESSION, "log", *PARTS]), VALUES, max_size=3)
SETTINGS = Params(**CART).model_dump()
FORMAT_2 = {
    **{"iteration": 3, "epochs": 12, "games_played": 0, "best_score": None, "recent": []},
    **{"unfinished": [], "best_saved": None, "seconds": 1.5, "means": {}, "due": [False] * 3},
    **{"params": SETTINGS, "versions": {}, "schedules": None, "log": {}},
}


def with_checksum(number: int, arrays: dict, facts: dict) -> bytes:
    """A file whose checksum is right, over content that no run ever wrote."""
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, facts=text, **{name: a for name, a in arrays.items() if name != "file"})
    checksum = hashlib.sha256(buffer.getvalue()).hexdigest()
    return f"ppo-checkpoint-{number} {checksum}\n".encode() + buffer.getvalue()


def format_2(arrays: dict, noise: dict) -> bytes:
    return with_checksum(2, arrays, {"step": 256, "facts": FORMAT_2 | noise})


def format_3(arrays: dict, noise: dict) -> bytes:
    facts = {"step": 256, "trainer": {}, "session": {"params": SETTINGS}}
    for key, value in noise.items():
        facts["trainer" if key in TRAINER else "session"][key] = value
    return with_checksum(3, arrays, facts)


def format_4(arrays: dict, noise: dict) -> bytes:
    facts = {"step": 256, "trainer": {}, "parts": {"run": {"params": SETTINGS}}}
    for key, value in noise.items():
        facts["parts" if key in PARTS else "trainer"][key] = value
    return with_checksum(4, arrays, facts)


ODD_ARRAYS = st.dictionaries(NAMES, ARRAYS, max_size=3)
CONTENTS = (
    st.binary(max_size=200)
    | st.builds(lambda tail: b"ppo-checkpoint-4 " + b"0" * 64 + b"\n" + tail, st.binary())
    | st.builds(format_2, ODD_ARRAYS, FACTS)
    | st.builds(format_3, ODD_ARRAYS, FACTS)
    | st.builds(format_4, ODD_ARRAYS, FACTS)
)


@given(content=CONTENTS)
@FEWER
def test_checkpoint(cart, capsys, content):
    logdir = with_checkpoint(cart, content)
    refused(capsys, logdir, f"--logdir={logdir}", "--resume")


REPLAY = {
    "game": "pong",
    "seed": 1,
    "resets": 0,
    "actions": [0, 1],
    "frame_skip": 4,
    "sticky_action_probability": 0.0,
    "noop_max": 30,
    "fire_on_reset": True,
    "full_action_space": False,
    "max_frames_per_game": 8,
    "score": 0.0,
    "steps": 2,
    "frames": 8,
}


@given(
    noise=st.dictionaries(st.sampled_from(sorted(REPLAY)), VALUES, max_size=3),
    without=st.sets(st.sampled_from(sorted(REPLAY)), max_size=1),
)
@MANY
def test_replay(tmp_path, noise, without):
    path = tmp_path / "replay.json"
    values = {key: value for key, value in (REPLAY | noise).items() if key not in without}
    path.write_text(json.dumps(values))
    message = ""
    try:
        game = replay.load(path)
    except replay.ReplayError as error:
        message = str(error)
    if message:
        assert "\n" not in message
        return
    # A sound file; it may even be of a game that can be played.
    assume(len(game.actions) < 9 and game.resets < 9 and game.frame_skip < 99)
    with contextlib.suppress(replay.ReplayError):
        replay.play(game)
