"""TensorBoard for people: a real server, asked as its page asks."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

import run_atari
from ppo.errors import ExitCode
from ppo.files.folder import FolderError
from ppo.report import board
from ppo.settings import Params
from ppo.telemetry.log import Log
from ppo.telemetry.scalars import SCORE, metric_of, tags

TAGS = tags(0, [], ["0_NOOP"])


def written(run: Path) -> Path:
    run.mkdir(parents=True)
    (run / "params.json").write_text("{}")
    log = Log(run, TAGS, 1)
    log.write(1, dict.fromkeys(board.PINNED, 1.0))
    log.close()
    return run


def answers(address: str, path: str):
    """What the server says, once it has read something."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with urllib.request.urlopen(urllib.parse.urljoin(address, path)) as answer:
            if found := json.load(answer):
                return found
        time.sleep(0.1)
    raise AssertionError(f"{path} stays empty")


def test_a_run_has_its_folder_s_name_and_its_main_charts_are_pinned(tmp_path, capfd):
    run = written(tmp_path / "my run, the 2nd")
    with board.served(run) as (address, _):
        assert re.fullmatch(r"http://localhost:\d+/", address)
        with urllib.request.urlopen(address) as page:
            shown = urllib.parse.urlsplit(page.geturl())
            assert b"<html" in page.read()
        pinned = urllib.parse.parse_qs(shown.query)["pinnedCards"][0]
        assert json.loads(pinned) == [{"plugin": "scalars", "tag": tag} for tag in board.PINNED]
        assert answers(address, "data/runs") == [run.name]
        found = answers(address, "data/plugin/timeseries/tags")["scalars"]
        assert {*found["runTagInfo"][run.name]} == {*board.PINNED}
        described = json.dumps(found["tagDescriptions"])
        assert "the true score, never clipped" in described
    assert capfd.readouterr() == ("", "")


def test_logs_without_event_files_are_served_on_the_port_that_is_asked_for(tmp_path):
    for name in ("one", "below/two"):
        for events in written(tmp_path / "runs" / name).glob(board.EVENTS):
            events.unlink()
    before = sorted((tmp_path / "runs").rglob("*"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with board.served(tmp_path / "runs", "127.0.0.1", port) as (address, _):
        assert address == f"http://127.0.0.1:{port}/"
        assert answers(address, "data/runs") == ["below/two", "one"]
        with (
            pytest.raises(FolderError, match=f"{port}, it was already in use"),
            board.served(tmp_path / "runs" / "one", port=port),
        ):
            pass
    assert sorted((tmp_path / "runs").rglob("*")) == before


def test_the_log_of_a_run_without_event_files_is_made_readable(tmp_path):
    run = written(tmp_path / "run")
    (tmp_path / "place").mkdir()
    for events in run.glob(board.EVENTS):
        events.unlink()
    board._source(run, tmp_path / "place")
    events = EventAccumulator(str(tmp_path / "place" / "converted" / "run"))
    events.Reload()
    for tag in board.PINNED:
        (point,) = events.Tensors(tag)
        assert (point.step, point.tensor_proto.float_val[0]) == (1, 1.0)
    assert "params" in events.Tags()["tensors"]  # HPARAMS and TEXT have the settings


def test_the_runs_of_a_folder_have_their_names(tmp_path):
    for name in ("one", "two"):
        written(tmp_path / name)
    with board.served(tmp_path) as (address, _):
        assert answers(address, "data/runs") == ["one", "two"]


def test_runs_with_and_without_event_files_are_shown_together(tmp_path, capsys):
    runs = tmp_path / "runs, of today"
    for name in ("one", "below/two", "three"):
        written(runs / name)
    for events in (runs / "below/two").glob(board.EVENTS):
        events.unlink()
    (runs / "other").mkdir()
    (runs / "other" / "progress.csv").write_text("no log\nof a run\n")
    with board.served(runs) as (address, _):
        end = time.monotonic() + 30
        while len(names := answers(address, "data/runs")) < 3 and time.monotonic() < end:
            time.sleep(0.1)
    assert sorted(names) == ["below/two", "one", "three"]
    assert "other/progress.csv: not the log of a run" in capsys.readouterr().err


def test_links_to_runs_are_followed_also_those_that_lead_back_up(tmp_path):
    for name in ("one", "two"):
        run = written(tmp_path / "runs" / name)
        (tmp_path / "compared" / name).mkdir(parents=True)
        (tmp_path / "compared" / name / "link").symlink_to(run)
        (run / "up").symlink_to(tmp_path / "compared")
    for events in run.glob(board.EVENTS):
        events.unlink()
    board.check(tmp_path / "compared")
    assert board._logs(tmp_path / "compared") == [tmp_path / "compared" / "two" / "link"]


def test_settings_are_compared_over_all_runs_and_the_score_comes_first(tmp_path):
    for name, settings in ("one", {}), ("two", {"gamma": 0.9}), ("three", {"gamma": 0.8}):
        run = written(tmp_path / name)
        log = Log(run, TAGS, 2)
        log.settings(1, dict(Params(seed=1, learning_rate=0.5, **settings)))
        log.close()
    with board.served(tmp_path) as (address, _):
        asked = "data/plugin/hparams/experiment?request=%7B%7D"
        found = answers(address, asked)
        while len(answers(address, "data/runs")) < 3 or "hparamInfos" not in found:
            found = answers(address, asked)
    assert [info["name"] for info in found["hparamInfos"]] == ["gamma"]
    assert found["metricInfos"][0]["name"]["tag"] == SCORE


def test_the_pinned_charts_are_shown_in_tensorboard():
    for tag in board.PINNED:
        assert tag in TAGS and not metric_of(tag).csv_only


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    run = written(tmp_path / "run")
    before = sorted(path.name for path in run.iterdir())
    with board.served(run):
        pass
    assert sorted(path.name for path in run.iterdir()) == before
    assert not list((tmp_path / "temporary").glob("ppo-board-*"))


def test_ctrl_c_ends_it_in_silence_even_if_it_comes_again(tmp_path, monkeypatch, capsys):
    @contextmanager
    def served(*_: object) -> Iterator[tuple[str, None]]:
        signal.raise_signal(signal.SIGINT)
        yield "", None

    monkeypatch.setattr(board, "served", served)
    assert run_atari.main([f"--logdir={tmp_path}", "--board"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_server_that_ends_by_itself_ends_the_command(tmp_path, monkeypatch, capsys):
    served = board.served

    @contextmanager
    def ending(*arguments: object) -> Iterator[tuple[str, subprocess.Popen]]:
        with served(*arguments) as (address, server):
            server.kill()
            yield address, server

    monkeypatch.setattr(board, "served", ending)
    run = written(tmp_path / "run")
    assert run_atari.main([f"--logdir={run}", "--board"]) == ExitCode.FAILED
    assert "TensorBoard ended by itself, with exit code -9" in capsys.readouterr().err


def test_modules_of_the_current_folder_are_not_imported(tmp_path, monkeypatch):
    run = written(tmp_path / "run")
    (run / "tensorboard.py").write_text("raise SystemExit('a module of the run')")
    monkeypatch.chdir(run)
    with board.served(run):
        pass


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_a_folder_without_a_log_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match="holds no run that TensorBoard can show"):
        board.check(tmp_path / name)


def test_the_board_does_not_need_tensorflow():
    code = "import sys; import ppo.report.board; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n"
