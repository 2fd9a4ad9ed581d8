"""Real processes that are killed: what they have started ends with them."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ppo.system import children, tied
from tests.light.test_board import written
from tests.processes import none_left, processes_of, wait_until

ROOT = Path(__file__).parents[2]

SLEEP = "import pathlib, sys, time; pathlib.Path(sys.argv[1], 'asleep').touch(); time.sleep(600)"
STARTS = f"""
import sys
from ppo.system.children import start
start([sys.executable, "-c", {SLEEP!r}, sys.argv[1]]).wait()
"""
WAYS = {
    "a child": STARTS,
    "a child of a child": f"""
import sys
from ppo.system.children import start
start([sys.executable, "-c", {STARTS!r}, sys.argv[1]]).wait()
""",
    "a child of a thread": f"""
import sys, threading
from ppo.system.children import start
command = [sys.executable, "-c", {SLEEP!r}, sys.argv[1]]
threading.Thread(target=lambda: start(command).wait()).start()
""",
    "a run of a sweep": f"""
import sys
from ppo.system.children import Children
Children().call([sys.executable, "-c", {SLEEP!r}, sys.argv[1]], None, None)
""",
    "a child that ends by another signal": STARTS.replace("]).wait", "], signal.SIGINT).wait")
    .replace("import sys", "import signal, sys")
    .replace("start(", "signal.signal(signal.SIGINT, signal.SIG_IGN)\nstart("),
    "an encoder": """
import subprocess, sys
from ppo.files import ffmpeg
with ffmpeg.running([sys.argv[1]], stdin=subprocess.PIPE):
    sys.stdin.read()
""",
}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("script", WAYS.values(), ids=list(WAYS))
def test_what_a_process_started_ends_with_it(tmp_path, monkeypatch, script, how):
    encoder = tmp_path / "encoder"
    encoder.write_text(f"#!{sys.executable}\nimport sys\nsys.argv[1] = sys.argv[-1]\n{SLEEP}\n")
    encoder.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(encoder))
    command = [sys.executable, "-c", script, str(tmp_path)]
    with none_left(tmp_path):
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
        wait_until((tmp_path / "asleep").exists)
        process.send_signal(how)
        assert process.wait() == -how
        wait_until(lambda: not processes_of(tmp_path), 30)
        process.stdin.close()


def test_a_child_whose_parent_has_ended_before_it_was_tied_ends_at_once():
    command = [sys.executable, "-I", "-S", tied.__file__, "1", str(int(signal.SIGKILL))]
    assert subprocess.run([*command, "sleep", "600"]).returncode == -signal.SIGKILL


def test_a_child_has_the_arguments_the_files_and_the_signals_of_a_plain_one(tmp_path):
    seen = "import os, signal, sys; print(sys.argv[1:], signal.getsignal(signal.SIGXFSZ)); "
    seen += "os.write(int(sys.argv[2]), b'passed'); os.execvp('sh', ['sh', '-c', 'kill -PIPE $$'])"
    reader, writer = os.pipe()
    command = [sys.executable, "-c", seen, "a b\udcff'\"\n", str(writer)]
    done = children.run(command, pass_fds=[writer], stdout=subprocess.PIPE)
    plain = subprocess.run(command, pass_fds=[writer], stdout=subprocess.PIPE)
    os.close(writer)
    with open(reader) as passed:
        assert passed.read() == 2 * "passed"
    assert done.stdout == plain.stdout and done.returncode == plain.returncode


def test_a_command_that_is_not_there_fails_in_one_line():
    done = children.run(["./no-such-command"], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "./no-such-command: No such file or directory\n"


def test_a_child_that_does_not_end_when_asked_is_killed(monkeypatch):
    monkeypatch.setattr(children, "GRACE_SECONDS", 0.1)
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); "
    command = [sys.executable, "-c", f"{deaf} time.sleep(600)"]
    with children.running(command, stdout=subprocess.PIPE) as process, process.stdout:
        process.stdout.readline()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_tensorboard_ends_with_the_command_that_serves_it(tmp_path, how):
    run = written(tmp_path / "run")
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, ROOT / "run_atari.py", "--board", f"--logdir={run}"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp")}
    with none_left(tmp_path):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline().startswith("TensorBoard: http")
        assert len(processes_of(tmp_path)) > 1
        process.send_signal(how)
        assert process.wait() == (0 if how != signal.SIGKILL else -how)
        process.stdout.close()
        wait_until(lambda: not processes_of(tmp_path), 30)
    if how != signal.SIGKILL:
        assert not list((tmp_path / "tmp").glob("ppo-board-*"))


STARTERS = {"Popen", "run", "call", "check_call", "check_output", "fork", "system", "Process"}


@pytest.mark.parametrize("folder", ["ppo", "benchmarks"])
def test_processes_are_started_in_one_place(folder):
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                name = owner.id if isinstance(owner, ast.Name) else ""
                if name in ("subprocess", "os", "multiprocessing") and node.func.attr in STARTERS:
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == ({"ppo/system/children.py"} if folder == "ppo" else set())
