"""A run on a machine of a cluster, without the cluster."""

import sys
import threading
import time
from pathlib import Path

import pytest

from ppo.process.exit_codes import ExitCode
from ppo.study import machines
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


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path):
    with pytest.raises(OSError, match=r"does not see .*nowhere"):
        run_here([], str(tmp_path / "nowhere" / "seed-0.log"), "none")


def test_a_run_adds_to_its_log_and_its_exit_code_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(machines, "RUN_ATARI", [sys.executable, "-c"])
    log = tmp_path / "seed-0.log"
    log.write_text("before\n")
    assert run_here(["print('here'); raise SystemExit(5)"], str(log), str(tmp_path / "stop")) == 5
    assert log.read_text() == "before\nhere\n"


def test_a_run_is_asked_to_stop_by_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(machines, "RUN_ATARI", [sys.executable, "-c"])
    log, stop, codes = tmp_path / "seed-0.log", tmp_path / "stop", []
    running = threading.Thread(
        target=lambda: codes.append(run_here([PATIENT], str(log), str(stop)))
    )
    running.start()
    while not log.exists() or "begins" not in log.read_text():
        time.sleep(0.02)
    stop.touch()
    running.join(timeout=20)
    assert codes == [3]


def test_without_ray_a_cluster_is_refused(monkeypatch):
    monkeypatch.setattr(machines, "find_spec", lambda name: None)
    assert machines.faults(None) == []
    (fault,) = machines.faults("auto")
    assert "pip install '.[cluster]'" in fault
