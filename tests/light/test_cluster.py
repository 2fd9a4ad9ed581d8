"""Which worker a process is, and what the exit codes of all of them come to."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

import run_atari
from benchmarks import collapses, games, time_to_score
from ppo.cli.training import RESTARTS
from ppo.drill import __main__ as drill
from ppo.errors import ExitCode, Refused
from ppo.files.folder import FolderGone
from ppo.params import ParamsError, with_workers
from ppo.settings import Params
from ppo.sweep import __main__ as sweep
from ppo.system import device
from ppo.system.command import run_command
from ppo.system.signals import REPEAT_SECONDS
from ppo.workers import launch
from ppo.workers.cluster import ClusterError, Worker, exposure, this_worker
from ppo.workers.launch import gpus_for, inherited, linked, outcome

ROOT = Path(__file__).parents[2]
TWO = {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}


def tf_config(cluster: dict, job: str = "worker", index: int = 0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Worker(1, 0)),
        ({"TF_CONFIG": "{}"}, Worker(1, 0)),
        (tf_config(TWO, index=1), Worker(2, 1)),
        (tf_config({"worker": ["a:1", "a:2", "b:1"]}, index=1), Worker(3, 1, on_this_machine=2)),
        (tf_config({"chief": ["a:1"], "worker": ["b:1"]}), Worker(2, 1, has_chief=True)),
        (tf_config({"chief": ["a:1"], "worker": ["b:1"]}, "chief"), Worker(2, 0, has_chief=True)),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"}, Worker(4, 3)),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, Worker(1, 0)),
    ],
)
def test_the_place_among_the_workers(environment, expected):
    assert this_worker(environment) == expected


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({"TF_CONFIG": "{"}, "cannot be read"),
        ({"TF_CONFIG": "[]"}, "cannot be read"),
        ({"TF_CONFIG": json.dumps({"cluster": TWO})}, "task"),
        (tf_config({"worker": ["nowhere"]}), "not HOST:PORT"),
        (tf_config(TWO, index=2), "worker 2, which trains nothing"),
        (tf_config(TWO | {"ps": ["c:1"]}, "ps"), "ps 0, which trains nothing"),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "4"}, "srun"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "srun"),
        ({"PPO_LINK": "{"}, "unset it"),
        ({"PPO_LINK": '{"count": 2, "index": 0, "memory": 3}'}, "unset it"),
    ],
)
def test_a_place_that_cannot_be_is_refused(environment, part):
    with pytest.raises(ClusterError, match=part):
        this_worker(environment)


def test_workers_on_one_machine_know_that_they_share_it():
    with linked(3) as links:
        places = [this_worker({**tf_config(TWO), **link.environment}) for link in links]
        assert places == [Worker(3, n, on_this_machine=3, link=links[n]) for n in range(3)]
        assert [len(link.sockets) for link in links] == [2, 1, 1]
        assert all(map(os.fstat, links[0].descriptors))
    for descriptor in links[0].descriptors:  # the starter keeps none, else nobody sees a death
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(descriptor)


@pytest.mark.parametrize(
    ("environment", "port", "others"),
    [
        (tf_config(TWO, index=1), 2222, "10.0.0.1"),
        (tf_config({"chief": ["a:1"], "worker": ["b:2", "a:3", "c:4"]}, index=1), 3, "b, c"),
        (tf_config({"worker": ["a:1", "a:2"]}, index=1), 2, "this machine"),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"}, 8889, "the nodes of this Slurm step"),
    ],
)
def test_a_worker_among_machines_says_what_is_open_to_whom(environment, port, others):
    said = exposure(environment)
    assert said.startswith(f"TensorFlow opens TCP port {port} on all network interfaces")
    assert f"Firewall rule: accept port {port} only from {others};" in said
    assert ("NCCL" in said, "NCCL" in exposure(environment, gpu=True)) == (False, True)


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(device, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def given(workers: int) -> list[str | None]:
    gpus, before = gpus_for(workers), os.environ.get("CUDA_VISIBLE_DEVICES")
    with linked(workers) as links:
        found = [inherited(link, gpus)["env"].get("CUDA_VISIBLE_DEVICES") for link in links]
    return [None if gpu == before else gpu for gpu in found]


def test_each_worker_on_one_machine_has_a_gpu_of_its_own(two_gpus):
    assert given(2) == ["0", "1"]
    with pytest.raises(Refused, match="3 workers need a GPU each, and there are 2"):
        gpus_for(3)


@pytest.mark.parametrize(
    ("visible", "expected"), [("4,5,6", ["4", "5"]), ("GPU-a, MIG-b", ["GPU-a", "MIG-b"])]
)
def test_it_is_one_of_those_that_are_visible(visible, expected, two_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert given(2) == expected


@pytest.mark.parametrize("visible", ["", "-1", "-1,0"])
def test_with_no_gpu_visible_workers_use_the_processor(visible, two_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert given(3) == [None] * 3


def test_on_a_machine_without_gpus_nothing_is_said_of_them(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert given(2) == [None, None]


KILLED, TERMINATED = -signal.SIGKILL, -signal.SIGTERM


@pytest.mark.parametrize(
    ("codes", "asked", "expected"),
    [
        ({1: 0, 0: 0}, False, (ExitCode.DONE, 0)),
        ({0: 0, 1: KILLED}, False, (ExitCode.DONE, 0)),  # it had nothing left to do
        ({1: KILLED, 0: ExitCode.LOST}, False, (ExitCode.LOST, 1)),
        ({1: KILLED, 0: ExitCode.STOPPED}, False, (ExitCode.LOST, 1)),
        ({0: ExitCode.LOST, 1: KILLED}, False, (ExitCode.LOST, 1)),  # it hung
        ({0: KILLED, 1: TERMINATED}, False, (ExitCode.LOST, 0)),
        ({0: ExitCode.LOST, 1: ExitCode.LOST}, False, (ExitCode.LOST, None)),
        ({1: ExitCode.STOPPED, 0: ExitCode.LOST}, False, (ExitCode.STOPPED, 0)),
        ({0: ExitCode.STOPPED, 1: ExitCode.STOPPED}, True, (ExitCode.STOPPED, 0)),
        ({0: TERMINATED, 1: TERMINATED}, True, (ExitCode.STOPPED, 0)),
        ({0: KILLED, 1: ExitCode.STOPPED}, True, (ExitCode.FAILED, 0)),
        ({0: ExitCode.REFUSED, 1: TERMINATED}, False, (ExitCode.REFUSED, 0)),
        ({0: ExitCode.LOST, 1: ExitCode.FAILED}, False, (ExitCode.FAILED, 1)),
        ({1: ExitCode.DIVERGED, 0: ExitCode.DIVERGED}, False, (ExitCode.DIVERGED, 0)),  # both ended
        ({1: ExitCode.FAILED, 0: ExitCode.FAILED}, False, (ExitCode.FAILED, 1)),
    ],
)
def test_the_exit_code_of_all_workers(codes, asked, expected):
    assert outcome(codes, asked) == expected


IS_FIRST = """'"index": 0' in __import__("os").environ["PPO_LINK"]"""
LOST_ONCE = """
import os, pathlib, sys
if '"index": 0' in os.environ["PPO_LINK"]:
    said = pathlib.Path(sys.argv[1].removeprefix("--logdir=")) / "said"
    with open(said, "a") as file:
        file.write(" ".join(sys.argv[2:]) + "\\n")
    sys.exit(6 if len(said.read_text().splitlines()) == 1 else 0)
"""


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (["--pfile=pong"], "--resume"),
        (["--resume", "--set=gamma=0.9", "--new-games"], "--resume --set=gamma=0.9 --new-games"),
    ],
)
def test_a_run_that_lost_a_worker_restarts_with_the_same_arguments(
    begin, again, tmp_path, monkeypatch
):
    monkeypatch.setattr(launch, "RUN_ATARI", [sys.executable, "-c", LOST_ONCE])
    (tmp_path / "params.json").touch()
    assert launch.run(tmp_path, begin, 2, restarts=2) == 0
    assert (tmp_path / "said").read_text().splitlines() == [" ".join(begin), again]


# The first worker has its folder taken away, and another run begins in its place.
LOSES_ITS_FOLDER = """
import pathlib, shutil, sys
logdir = pathlib.Path(sys.argv[1].removeprefix("--logdir="))
if INDEX_0 and sys.argv[2] == "--resume":
    (logdir / "said").touch()
elif INDEX_0:
    TAKE_AWAY
    logdir.mkdir()
    (logdir / "params.json").touch()
    sys.exit(6)
"""


@pytest.mark.parametrize("moved", [False, True])
def test_a_run_that_lost_a_worker_starts_again_in_its_own_folder(moved, tmp_path, monkeypatch):
    logdir, this_worker = tmp_path / "run", tmp_path / "moved"
    logdir.mkdir()
    (logdir / "params.json").touch()
    take_away = f"logdir.rename({str(this_worker)!r})" if moved else "shutil.rmtree(logdir)"
    script = LOSES_ITS_FOLDER.replace("INDEX_0", IS_FIRST).replace("TAKE_AWAY", take_away)
    monkeypatch.setattr(launch, "RUN_ATARI", [sys.executable, "-c", script])
    if moved:
        assert launch.run(logdir, ["--pfile=pong"], 2, restarts=2) == 0
        assert (this_worker / "said").exists()
    else:
        with pytest.raises(FolderGone, match=f"^{logdir} was moved or removed"):
            launch.run(logdir, ["--pfile=pong"], 2, restarts=2)
    assert [path.name for path in logdir.iterdir()] == ["params.json"]


@pytest.mark.parametrize(
    ("given", "begin"),
    [
        (["--pfile=pong"], ["--pfile=pong", "--set=gamma=0.9", "--set=seed=2"]),
        (["--env=CartPole-v1"], ["--env=CartPole-v1", "--set=gamma=0.9", "--set=seed=2"]),
        (
            ["--resume", "--new-games"],
            ["--resume", "--set=gamma=0.9", "--set=seed=2", "--new-games"],
        ),
        (["--fork=a@b@64"], ["--fork=a@b@64", "--set=gamma=0.9", "--set=seed=2"]),
        (["--fork=a@b"], ["--fork=a@b@newest", "--set=gamma=0.9", "--set=seed=2"]),
        (["--fork=a@1/"], ["--fork=a@1@newest", "--set=gamma=0.9", "--set=seed=2"]),
    ],
)
def test_every_worker_gets_the_command_s_arguments(given, begin, tmp_path, monkeypatch):
    launches = []
    monkeypatch.setattr(launch, "run", lambda *given: launches.append(given) or ExitCode.LOST)
    arguments = [f"--logdir={tmp_path}", "--set=gamma=0.9", "--set=seed=2", "--workers=2"]
    assert run_atari.main([*arguments, *given, "--restarts=1"]) == ExitCode.LOST
    assert run_atari.main([*arguments, *given]) == ExitCode.LOST
    assert launches == [(tmp_path, begin, 2, restarts) for restarts in (1, RESTARTS)]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (run_atari.main, ["--check", "--env=CartPole-v1"]),
        (sweep.main, ["--env=CartPole-v1", "--logdir=runs"]),
        (drill.main, []),
        (games.main, ["--games=CartPole-v1", "--steps=1", "--logdir=runs"]),
        (collapses.main, ["--agents=1", "--logdir=runs"]),
        (
            lambda: run_command(time_to_score.train_and_report),
            ["--pfile=pong", "--seeds=1", "--score=1", "--logdir=runs"],
        ),
    ],
)
@pytest.mark.parametrize(
    "worker", [tf_config(TWO, index=1), {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}]
)
def test_a_worker_starts_no_runs_that_would_wait_for_the_others(
    worker, command, arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    for name, value in worker.items():
        monkeypatch.setenv(name, value)
    assert command() == ExitCode.REFUSED
    assert "this process is worker 1 of 2 by TF_CONFIG or Slurm" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_command_that_starts_runs_asks_whether_it_is_a_worker():
    sources = [*(ROOT / "ppo").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in sources}
    starters = {name for name, text in texts.items() if re.search(r"run_command\(.*stopped=", text)}
    ours = {f"ppo/{name}/__main__.py" for name in ("sweep", "autopsy", "drill")}
    assert starters >= ours | {f"benchmarks/{name}.py" for name in ("games", "collapses")}
    assert "benchmarks/time_to_score.py" in starters
    checks = re.compile(r"\b(check_alone|begun_faults)\(")
    assert [name for name in starters if not checks.search(texts[name])] == []


def test_a_worker_may_draw_existing_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", tf_config(TWO, index=1)["TF_CONFIG"])
    drawing = [f"--logdir={tmp_path / 'drawing'}", f"--draw=x={tmp_path / 'run'}"]
    assert sweep.main(drawing) == ExitCode.REFUSED
    assert "holds no run" in capsys.readouterr().err


def test_a_run_that_lost_a_worker_starts_again_though_its_output_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "RUN_ATARI", [sys.executable, "-c", LOST_ONCE])
    (tmp_path / "params.json").touch()
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        assert launch.run(tmp_path, ["--pfile=pong"], 2, restarts=2) == 0
    assert len((tmp_path / "said").read_text().splitlines()) == 2


HANGS = """
import os, signal, sys, time
if IGNORES:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1].removeprefix("--logdir=") + f"/hangs-{os.getpid()}", "w").close()
time.sleep(60)
"""


def ask(folder: Path, times: int) -> None:
    """Ask this process to stop, once two workers hang."""
    unheard = signal.getsignal(signal.SIGTERM)
    while len(list(folder.glob("hangs-*"))) < 2 or signal.getsignal(signal.SIGTERM) == unheard:
        time.sleep(0.01)
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(2 * REPEAT_SECONDS)


@pytest.mark.parametrize(
    ("ignores", "requests", "code"),
    [
        (False, 1, ExitCode.STOPPED),  # nothing had begun
        (True, 2, ExitCode.FAILED),
    ],
)
def test_workers_that_hang_end_by_the_last_request_that_they_hear(
    ignores, requests, code, tmp_path, monkeypatch
):
    hangs = HANGS.replace("IGNORES", str(ignores))
    monkeypatch.setattr(launch, "RUN_ATARI", [sys.executable, "-c", hangs])
    monkeypatch.setattr(launch, "GRACE_SECONDS", 600.0)
    asking = threading.Thread(target=ask, args=(tmp_path, requests))
    asking.start()
    assert launch.run(tmp_path, [], 2, restarts=2) == code
    asking.join()


STOPS = """
import os, signal, sys, time
if '"index": 1' in os.environ["PPO_LINK"]:
    os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(600)
"""


def test_a_worker_that_is_stopped_is_ended_and_was_lost(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(launch, "RUN_ATARI", [sys.executable, "-c", STOPS])
    assert launch.run(tmp_path, [], 2, restarts=0) == ExitCode.LOST
    assert capfd.readouterr().err.splitlines() == [
        "worker 1 is stopped (SIGSTOP), so it is ended",
        "worker 1 was lost (SIGKILL)",
    ]


ENDS = """
import os, sys, time
if '"index": 1' in os.environ["PPO_LINK"]:
    print("mine", file=sys.stderr, flush=True)
    HOW
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("sys.exit(4)", ExitCode.DIVERGED, "mine\n"),
        (
            "os.write(2, bytes([228, 10])); sys.exit(4)",
            ExitCode.DIVERGED,
            "mine\n\N{REPLACEMENT CHARACTER}\n",
        ),
        ("os.abort()", ExitCode.LOST, "mine\nworker 1 was lost (SIGABRT)\n"),
    ],
)
def test_a_run_ends_with_the_code_and_message_of_the_worker_that_ended_it(
    tmp_path, monkeypatch, capfd, how, code, said
):
    script = ENDS.replace("HOW", how)
    monkeypatch.setattr(launch, "RUN_ATARI", [sys.executable, "-c", script])
    assert launch.run(tmp_path, [], 2, restarts=0) == code
    assert capfd.readouterr().err == said


def test_a_run_that_loses_its_workers_each_time_is_given_up(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(launch, "RUN_ATARI", [sys.executable, "-c", "raise SystemExit(6)"])
    assert launch.run(tmp_path, [], 2, restarts=2) == ExitCode.LOST
    said = capfd.readouterr().err.splitlines()
    assert [line.partition("; ")[2] for line in said] == [
        "restarts left: 1; all start again",
        "restarts left: 0; all start again",
        "",
    ]


FOUR_PARTS = {"num_envs": 8, "num_minibatches": 4}


@pytest.mark.parametrize(
    ("minibatch_per", "part", "gradient_steps"), [("worker", 256, 4), ("run", 128, 8)]
)
def test_a_minibatch_grows_with_the_workers_or_is_shared_out(minibatch_per, part, gradient_steps):
    settings = Params(workers=2, minibatch_per=minibatch_per, total_steps=3000, **FOUR_PARTS)
    assert (settings.batch_size, settings.steps_per_iteration) == (1024, 2048)
    assert (settings.minibatch_size, settings.minibatches_per_epoch) == (part, gradient_steps)
    assert (settings.num_iterations, settings.whole_steps) == (2, 4096)


def test_a_minibatch_that_cannot_be_shared_out_is_refused():
    one = Params(minibatch_per="run", **FOUR_PARTS)
    with pytest.raises(ParamsError, match=r"4 minibatches x 3 workers = 12 .*minibatch_per"):
        with_workers(one, 3)
    assert with_workers(one, 4).minibatch_size == 64


def test_settings_of_other_workers_are_refused():
    with pytest.raises(ParamsError, match=r"workers = 2: .* started with 3"):
        with_workers(Params(workers=2), 3)
    assert with_workers(Params(), 3).workers == 3
