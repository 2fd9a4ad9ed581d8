"""The pictures of the README, with a program in the browser's place that notes its messages."""

import contextlib
import json
import sys
from pathlib import Path

import pytest

from docs import screenshots
from docs.browser import BrowserError
from ppo.files.folder import FolderError
from ppo.report import board
from ppo.settings import Params
from ppo.telemetry.log import Log
from ppo.telemetry.scalars import tags

# It answers every message, and gives as each picture the messages before it.
BROWSER = f"""#!{sys.executable}
import base64, json, os
messages, heard = [], b""
while part := os.read(3, 65536):
    heard += part
    while b"\\0" in heard:
        text, _, heard = heard.partition(b"\\0")
        message = json.loads(text)
        messages.append(message)
        data = base64.b64encode(json.dumps(messages).encode()).decode()
        result = {{"targetId": "t", "sessionId": "s", "data": data}}
        event, answer = {{"method": "an.event"}}, {{"id": message["id"], "result": result}}
        os.write(4, json.dumps(event).encode() + b"\\0" + json.dumps(answer).encode() + b"\\0")
"""


ADDRESS = "http://localhost:6006/"


@pytest.fixture(autouse=True)
def served(monkeypatch) -> None:
    """No TensorBoard, which takes seconds to start; test_board is about it."""
    monkeypatch.setattr(board, "served", lambda run: contextlib.nullcontext((ADDRESS, None)))


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "pong"
    (folder / "videos").mkdir(parents=True)
    (folder / "videos" / "step-0.mp4").write_bytes(b"")
    log = Log(folder, tags(0, ["policy", "value"], ["0"]), 1)
    log.write(8, {"rollout/ep_rew_mean": 3.0})
    log.write(16, {"rollout/ep_rew_mean": 4.5, "train/loss": 0.25})
    log.close()
    (folder / "params.json").write_text(Params().to_json())
    return folder


def program(folder: Path, monkeypatch, script: str) -> None:
    (folder / "browser").write_text(script)
    (folder / "browser").chmod(0o755)
    monkeypatch.setenv("BROWSER", str(folder / "browser"))


def test_each_part_of_tensorboard_is_photographed(run, tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, BROWSER)
    taken = screenshots.take(run, tmp_path, seconds=0)
    assert [path.name for path in taken] == list(screenshots.PICTURES)
    for path in taken:
        messages = [message["params"] for message in json.loads(path.read_text())]
        address = [params["url"] for params in messages if "url" in params][-1]
        part = screenshots.PICTURES[path.name]
        assert address == f"{ADDRESS}?{board.FIRST_SCREEN}#{part}"
        assert any(params.get("width") == screenshots.SIZE[0] for params in messages)
        assert any("timeSeriesSettingsPane" in params.get("expression", "") for params in messages)


def test_images_of_a_run_without_a_video_are_not_photographed(run, tmp_path, monkeypatch):
    (run / "videos" / "step-0.mp4").unlink()
    program(tmp_path, monkeypatch, BROWSER)
    taken = screenshots.take(run, tmp_path, seconds=0)
    assert [path.name for path in taken] == ["tensorboard.png"]


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\nhead -c 9 <&3; exit 0\n"])
def test_a_browser_that_ends_is_an_error(run, tmp_path, monkeypatch, script):
    program(tmp_path, monkeypatch, script)
    with pytest.raises(BrowserError, match="ended"):
        screenshots.take(run, tmp_path, seconds=0)
    assert not list(tmp_path.glob("*.png"))


def test_without_a_browser_the_script_says_how_to_name_one(run, monkeypatch):
    monkeypatch.setenv("BROWSER", str(run / "absent"))
    with pytest.raises(FolderError, match="BROWSER=PROGRAM"):
        screenshots.take(run, run)
