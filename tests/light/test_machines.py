"""A run on a machine of a cluster, without the cluster."""

import signal
import sys
import threading
import time
from _thread import interrupt_main
from types import SimpleNamespace

import pytest

from ppo.errors import ExitCode
from ppo.files.folder import FolderError
from ppo.sweep import __main__ as sweep
from ppo.sweep import machines
from ppo.workers.cluster import this_worker

# Ends when it is asked to, and says so.
PATIENT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved"), sys.exit(3)))
print("begins", flush=True)
time.sleep(60)
"""


def test_a_run_ends_with_its_exit_code(tmp_path):
    with open(tmp_path / "log", "w") as log:
        code = machines.call([sys.executable, "-c", "raise SystemExit(5)"], log, log)
    assert code == 5


def test_a_run_on_a_machine_whose_ray_slurm_started_is_no_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert this_worker().count == 2
    code = "from ppo.workers.cluster import this_worker; raise SystemExit(this_worker().count)"
    with open(tmp_path / "log", "w") as log:
        assert machines.call([sys.executable, "-c", code], log, log) == 1


def test_a_run_saves_when_its_task_is_cancelled(tmp_path):
    path = tmp_path / "log"

    def cancel() -> None:  # as Ray does
        while "begins" not in path.read_text():
            time.sleep(0.02)
        interrupt_main()

    with open(path, "w") as log:
        threading.Thread(target=cancel).start()
        with pytest.raises(KeyboardInterrupt):
            machines.call([sys.executable, "-c", PATIENT], log, log)
    assert path.read_text().endswith("saved\n")


def test_a_machine_that_does_not_see_the_folder_runs_nothing(tmp_path):
    marker = tmp_path / "folder" / "marker"
    with pytest.raises(FolderError, match=f"does not see {tmp_path / 'folder'}; --cluster needs"):
        machines.run_here(lambda _: pytest.fail("a run began"), str(marker))
    marker.parent.mkdir()
    marker.touch()
    assert machines.run_here(lambda call: 4 if call is machines.call else 0, str(marker)) == 4


def test_without_ray_a_cluster_is_refused(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sweep, "find_spec", lambda name: None)
    arguments = ["--env=CartPole-v1", f"--logdir={tmp_path / 'new'}", "--cluster=auto"]
    assert sweep.main(arguments) == ExitCode.REFUSED and not (tmp_path / "new").exists()
    assert "--cluster=auto: Ray is not installed" in capsys.readouterr().err


class FakeRayError(Exception):
    """In place of Ray's own kind of error."""


def ray_that_fails(error: Exception) -> SimpleNamespace:
    """Return a module like Ray, which sets its handler of SIGTERM and does not connect."""

    def init(**_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise error

    return SimpleNamespace(init=init, exceptions=SimpleNamespace(RayError=FakeRayError))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("no cluster"), "no cluster"),
        (ConnectionError(), "no Ray cluster answers there"),
        (ValueError("Malformed address"), "Malformed address"),
        (FakeRayError("no token"), "no token"),
    ],
)
def test_a_sweep_on_ray_says_first_what_is_open_and_why_it_does_not_connect(
    monkeypatch, tmp_path, capsys, error, message
):
    monkeypatch.setitem(sys.modules, "ray", ray_that_fails(error))
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match=f"--cluster=a:1: {message}"):
            machines.Cluster("a:1", 1, False, tmp_path)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN  # not Ray's
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capsys.readouterr().out
    assert said.startswith("Ray opens TCP ports on all network interfaces") and "Firewall" in said
