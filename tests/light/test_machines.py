"""A run on a machine of a cluster, without the cluster."""

import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppo.errors import ExitCode
from ppo.files.folder import FolderError, owned
from ppo.study import machines
from ppo.study.folder_host import FolderHost, LocalCopy, Paths
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


PATHS = Paths("plain/seed-0.log", "plain/seed-0", "settings.json")


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(machines, "RUN_ATARI", [sys.executable, "-c"])
    folder = tmp_path / "sweep"
    (folder / "plain").mkdir(parents=True)
    made = FolderHost(folder)
    yield made
    made.close()


@pytest.fixture
def hidden(host, monkeypatch, tmp_path):
    """The host as a machine has it that does not see its folder."""
    monkeypatch.setattr(host, "marker", lambda: str(tmp_path / "elsewhere"))
    return host


def go(script: str, host: FolderHost) -> int:
    """Run a script, which gets the run's folder as its first argument."""
    arguments = [script, f"--logdir={host.folder / PATHS.run}"]
    return run_here(arguments, host.folder, PATHS, host)


def test_a_run_adds_to_its_log_and_its_exit_code_is_told(host):
    log = host.folder / PATHS.log
    log.write_text("before\n")
    assert go("print('here'); raise SystemExit(5)", host) == 5
    assert log.read_text() == "before\nhere\n"


def test_a_run_is_asked_to_stop(host):
    log, codes = host.folder / PATHS.log, []
    running = threading.Thread(target=lambda: codes.append(go(PATIENT, host)))
    running.start()
    while not log.exists() or "begins" not in log.read_text():
        time.sleep(0.02)
    host.stop()
    running.join(timeout=20)
    assert codes == [3]


def test_nothing_begins_once_all_shall_stop(hidden):
    hidden.stop()
    assert go("print('here')", hidden) == ExitCode.STOPPED
    assert not (hidden.folder / PATHS.log).exists()


# Resumes at the checkpoint that is there, and makes two more; the oldest goes.
TRAINS = """
import sys
from pathlib import Path
from types import SimpleNamespace
folder = Path(sys.argv[1].removeprefix("--logdir="))
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
(folder / ".evaluations.jsonl.lock").touch()
"""


@pytest.fixture
def run(hidden):
    """A run that has a checkpoint, and another one beside it."""
    run = hidden.folder / PATHS.run
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/step-1.ckpt").write_text("1")
    (run / "progress.csv").write_text("1")
    (hidden.folder / "settings.json").write_text("{}")
    (hidden.folder / "plain/seed-1.log").write_text("of another run")
    return run


def test_a_machine_without_the_folder_gets_what_its_run_needs_and_sends_back_what_it_makes(
    hidden, run
):
    assert go(TRAINS, hidden) == 0
    said = (hidden.folder / PATHS.log).read_text()
    assert said.startswith("resumes step-1.ckpt in ") and str(hidden.folder) not in said
    assert (run / "progress.csv").read_text() == "123"
    left = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert left == ["step-2.ckpt", "step-3.ckpt"]
    assert not (run / ".evaluations.jsonl.lock").exists()
    assert (hidden.folder / "plain/seed-1.log").read_text() == "of another run"


def test_what_others_add_to_the_folder_meanwhile_stays(hidden, run):
    loan = hidden.lend(PATHS)
    (run / "videos").mkdir()
    (run / "videos/watched.mp4").write_text("by --watch")
    hidden.store(loan.number, PATHS, {f"{PATHS.run}/progress.csv": b"12"}, [])
    assert (run / "videos/watched.mp4").exists()


def test_only_the_last_loan_of_a_run_stores(hidden, run):
    lost, again = hidden.lend(PATHS), hidden.lend(PATHS)
    name = f"{PATHS.run}/progress.csv"
    with pytest.raises(OSError, match="goes on elsewhere"):
        hidden.store(lost.number, PATHS, {name: b"late"}, [])
    hidden.release(lost.number, PATHS)
    hidden.store(again.number, PATHS, {name: b"12"}, [])
    assert (run / "progress.csv").read_text() == "12"


def test_nobody_else_trains_a_run_that_is_lent(hidden, run):
    loan = hidden.lend(PATHS)
    with pytest.raises(FolderError, match="in use"), owned(run):
        pass
    hidden.release(loan.number, PATHS)
    with owned(run), pytest.raises(FolderError, match="in use"):
        hidden.lend(PATHS)


def test_a_run_whose_files_cannot_be_stored_does_not_go_on(hidden, run, monkeypatch):
    monkeypatch.setattr(machines, "SEND_SECONDS", 0.1)
    monkeypatch.setattr(hidden, "store", lambda *_: os.stat("/nowhere"))
    began = time.monotonic()
    with pytest.raises(FileNotFoundError):
        go(PATIENT, hidden)
    assert time.monotonic() < began + 30, "it was waited for"
    with owned(run):
        pass


def test_a_copy_tells_only_what_has_changed_and_the_checkpoints_first(tmp_path):
    paths = Paths("run.log", "run", "settings.json")
    copy = LocalCopy(tmp_path, paths, {"run/a.csv": b"1", "run/step-1.ckpt": b"1"})
    assert copy.changed() == ({}, [])
    (tmp_path / "run/a.csv").write_text("12")
    (tmp_path / "run/step-2.ckpt").write_text("2")
    (tmp_path / "run/step-1.ckpt").unlink()
    (tmp_path / "run/.ppo-12ab.partial").write_text("half")
    files, gone = copy.changed()
    assert list(files.items()) == [("run/step-2.ckpt", b"2"), ("run/a.csv", b"12")]
    assert gone == ["run/step-1.ckpt"]
    assert copy.changed() == ({}, [])


def test_a_checkpoint_that_takes_the_place_of_one_that_was_listed_is_not_missed(
    tmp_path, monkeypatch
):
    paths = Paths("run.log", "run", "settings.json")
    copy = LocalCopy(tmp_path, paths, {"run/a.csv": b"1"})
    old, new = (tmp_path / f"run/step-{step}.ckpt" for step in (1, 2))
    old.write_text("1")
    read_bytes = Path.read_bytes

    def replaced(path: Path) -> bytes:
        if path == old:
            old.unlink(missing_ok=True)
            new.write_text("2")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", replaced)
    assert copy.changed() == ({"run/step-2.ckpt": b"2"}, [])


@pytest.mark.parametrize(
    ("before", "order"),
    [
        (True, ["params.json", "a.csv", "best.ckpt", "step-0.ckpt", "step-1.ckpt"]),
        (False, ["params.json", "step-0.ckpt", "a.csv", "best.ckpt", "step-1.ckpt"]),
    ],
)
def test_a_run_can_be_resumed_whenever_its_host_is_killed(host, monkeypatch, before, order):
    checkpoints = host.folder / PATHS.run / "checkpoints"
    checkpoints.mkdir(parents=True)
    if before:
        (checkpoints / "step-0.ckpt").touch()
    stored = []
    monkeypatch.setattr(
        "ppo.study.folder_host.write_whole", lambda path, _: stored.append(path.name)
    )
    files = {f"{PATHS.run}/{name}": b"" for name in reversed(order)}
    host.store(host.lend(PATHS).number, PATHS, files, [])
    assert stored == order


def test_a_host_leaves_no_trace_and_others_alone(tmp_path):
    one, other = FolderHost(tmp_path), FolderHost(tmp_path)
    assert Path(one.marker()).exists() and one.marker() != other.marker()
    other.close()
    assert Path(one.marker()).exists()
    one.close()
    assert not list(tmp_path.iterdir())


def test_without_ray_a_cluster_is_refused(monkeypatch):
    monkeypatch.setattr(machines, "find_spec", lambda name: None)
    assert machines.faults(None) == []
    (fault,) = machines.faults("auto")
    assert "pip install '.[cluster]'" in fault


def test_a_sweep_on_ray_says_first_what_is_open(monkeypatch, tmp_path, capsys):
    def unreachable(**_: object) -> None:
        raise ConnectionError("no cluster")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=unreachable))
    with pytest.raises(OSError, match="--cluster=a:1: no cluster"):
        machines.Cluster("a:1", 1, False, tmp_path, tmp_path / "settings.json")
    said = capsys.readouterr().out
    assert said.startswith("Ray opens TCP ports on all network interfaces") and "Firewall" in said
