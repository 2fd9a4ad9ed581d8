"""A run on a machine of a cluster, without the cluster."""

import sys
import threading
import time
from pathlib import Path

import pytest

from ppo.process.exit_codes import ExitCode
from ppo.study import machines
from ppo.study.desk import Copy, Desk
from ppo.study.grid import Run
from ppo.study.machines import MachineLost, outlasting, run_here

RUN = Run("plain", 0, (), Path("plain/seed-0"))
# Ends when it is asked to, and says so.
PATIENT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("begins", flush=True)
time.sleep(60)
"""


def test_a_run_that_loses_its_machine_goes_on_elsewhere(capsys):
    losses = iter([MachineLost, MachineLost])

    def go(run, call):
        for loss in losses:
            raise loss
        return call(run)

    assert outlasting(go)(RUN, lambda run: 4) == 4
    assert capsys.readouterr().out.count("plain, seed 0: its machine was lost") == 2


def test_a_run_that_loses_every_machine_is_given_up():
    def go(run, call):
        raise MachineLost

    assert outlasting(go)(RUN, lambda run: 0) == ExitCode.LOST


def arguments_of(script: str, folder: Path) -> list[str]:
    """As of a run, whose folder a script gets as its first argument."""
    return [script, str(folder / "plain/seed-0")]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr(machines, "RUN_ATARI", [sys.executable, "-c"])
    folder = tmp_path / "sweep"
    (folder / "plain").mkdir(parents=True)
    return Desk(folder)


PATHS = ["plain/seed-0.log", "plain/seed-0", "settings.json"]


def test_a_run_adds_to_its_log_and_its_exit_code_is_told(desk):
    log = desk.folder / PATHS[0]
    log.write_text("before\n")
    script = arguments_of("print('here'); raise SystemExit(5)", desk.folder)
    assert run_here(script, desk.folder, PATHS, desk) == 5
    assert log.read_text() == "before\nhere\n"


def test_a_run_is_asked_to_stop(desk):
    log, codes = desk.folder / PATHS[0], []
    script = arguments_of(PATIENT, desk.folder)
    running = threading.Thread(
        target=lambda: codes.append(run_here(script, desk.folder, PATHS, desk))
    )
    running.start()
    while not log.exists() or "begins" not in log.read_text():
        time.sleep(0.02)
    desk.stop()
    running.join(timeout=20)
    assert codes == [3]


# Resumes at the checkpoint that is there, and makes two more; the oldest goes.
TRAINS = """
import sys
from pathlib import Path
folder = Path(sys.argv[1])
checkpoints = folder / "checkpoints"
(before,) = checkpoints.glob("step-*.ckpt")
assert (folder.parents[1] / "settings.json").read_text() == "{}"
print("resumes", before.name, "in", folder)
for step in "2", "3":
    with open(folder / "progress.csv", "a") as log:
        log.write(step)
    (checkpoints / f"step-{step}.ckpt").write_text(step)
before.unlink()
(folder / ".lock").touch()
"""


def test_a_machine_without_the_folder_gets_what_its_run_needs_and_sends_back_what_it_makes(
    desk, tmp_path, monkeypatch
):
    run = desk.folder / "plain/seed-0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/step-1.ckpt").write_text("1")
    (run / "progress.csv").write_text("1")
    (desk.folder / "settings.json").write_text("{}")
    (desk.folder / "plain/seed-1.log").write_text("of another run")
    monkeypatch.setattr(desk, "marker", lambda: tmp_path / "elsewhere")

    script = arguments_of(TRAINS, desk.folder)
    assert run_here(script, desk.folder, PATHS, desk) == 0
    said = (desk.folder / PATHS[0]).read_text()
    assert said.startswith("resumes step-1.ckpt in ") and str(desk.folder) not in said
    assert (run / "progress.csv").read_text() == "123"
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "step-2.ckpt",
        "step-3.ckpt",
    ]
    assert not (run / ".lock").exists()
    assert (desk.folder / "plain/seed-1.log").read_text() == "of another run"


def test_a_copy_tells_only_what_has_changed_and_the_checkpoints_first(tmp_path):
    copy = Copy(tmp_path, ["run"], {"run/a.csv": b"1", "run/step-1.ckpt": b"1"})
    assert copy.changed() == ({}, ["run/a.csv", "run/step-1.ckpt"])
    (tmp_path / "run/a.csv").write_text("12")
    (tmp_path / "run/step-2.ckpt").write_text("2")
    (tmp_path / "run/step-1.ckpt").unlink()
    (tmp_path / "run/.ppo-12ab.partial").write_text("half")
    files, names = copy.changed()
    assert list(files.items()) == [("run/step-2.ckpt", b"2"), ("run/a.csv", b"12")]
    assert names == ["run/a.csv", "run/step-2.ckpt"]
    assert copy.changed()[0] == {}


def test_a_desk_stores_a_checkpoint_after_its_log(desk, monkeypatch):
    stored = []
    monkeypatch.setattr("ppo.study.desk.write_whole", lambda path, _: stored.append(path.name))
    desk.take({"a.ckpt": b"", "b.csv": b""}, [], [])
    assert stored == ["b.csv", "a.ckpt"]


def test_a_desk_leaves_no_trace_not_even_of_one_that_was_killed(tmp_path):
    killed, desk = Desk(tmp_path), Desk(tmp_path)
    assert desk.marker().exists() and not killed.marker().exists()
    desk.close()
    assert not list(tmp_path.iterdir())


def test_without_ray_a_cluster_is_refused(monkeypatch):
    monkeypatch.setattr(machines, "find_spec", lambda name: None)
    assert machines.faults(None) == []
    (fault,) = machines.faults("auto")
    assert "pip install '.[cluster]'" in fault
