"""The pictures of the README, with a program in the browser's place that notes what it is asked."""

import subprocess
from pathlib import Path

import pytest

from docs import screenshots
from ppo.files.folder import FolderError
from ppo.files.log import Log

BROWSER = """#!/bin/sh
for argument; do
    case "$argument" in --screenshot=*) echo "$@" > "${argument#--screenshot=}";; esac
done
"""


@pytest.fixture
def run(tmp_path) -> Path:
    Log(tmp_path, ["train/loss"], 1).close()
    (tmp_path / "params.json").write_text("{}")
    return tmp_path


def program(folder: Path, monkeypatch, script: str) -> None:
    (folder / "browser").write_text(script)
    (folder / "browser").chmod(0o755)
    monkeypatch.setenv("BROWSER", str(folder / "browser"))


def test_each_part_of_tensorboard_is_photographed(run, monkeypatch):
    program(run, monkeypatch, BROWSER)
    for path in screenshots.take(run, run):
        asked = path.read_text()
        part = screenshots.PICTURES[path.name]
        assert "http://localhost:" in asked and asked.rstrip().endswith(f"#{part}")
        assert "pinnedCards=" in asked and "--window-size=1400,900" in asked


def test_a_browser_that_fails_is_an_error(run, monkeypatch):
    program(run, monkeypatch, "#!/bin/sh\nexit 1\n")
    with pytest.raises(subprocess.CalledProcessError):
        screenshots.take(run, run)


def test_a_browser_that_takes_no_picture_is_an_error(run, monkeypatch):
    program(run, monkeypatch, "#!/bin/sh\n")
    with pytest.raises(FolderError, match="took no picture"):
        screenshots.take(run, run)


def test_without_a_browser_the_script_says_how_to_name_one(run, monkeypatch):
    monkeypatch.setenv("BROWSER", str(run / "absent"))
    with pytest.raises(FolderError, match="BROWSER=PROGRAM"):
        screenshots.take(run, run)
