"""A run without what only Linux has, in a process from which all of it is hidden."""

import json
import os
import subprocess
import sys
from pathlib import Path

from ppo.system.children import unnamed_file
from ppo.telemetry import progress
from tests.test_command import CART

ROOT = Path(__file__).parents[1]
# Names of os that its documentation calls absent from macOS, or present on Linux alone.
LINUX_ALONE = (
    *("O_PATH", "O_DIRECT", "O_RSYNC", "O_NOATIME", "fdatasync", "pipe2", "eventfd"),
    *("memfd_create", "pidfd_open", "sched_getaffinity", "sched_setaffinity", "sched_setscheduler"),
    *("posix_fadvise", "posix_fallocate", "copy_file_range", "splice", "getrandom", "getxattr"),
    *("setns", "unshare", "waitid", "process_cpu_count"),
)
HIDE = f"""
import builtins, ctypes, importlib, io, os, pathlib, select, sys, tempfile
import tests.imported  # TensorFlow: the package is imported again, below

for name in [name for name in sys.modules if name.split(".")[0] in ("ppo", "run_atari")]:
    del sys.modules[name]
for module, names in (os, {LINUX_ALONE}), (select, ("epoll",)):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

def without_proc(function):
    def call(path, *arguments, **options):
        if str(path).startswith(("/proc", "/sys")):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return function(path, *arguments, **options)
    return call

builtins.open = io.open = without_proc(open)
for name in ("open", "stat", "lstat", "readlink", "listdir", "scandir"):
    setattr(os, name, without_proc(getattr(os, name)))
class Library:
    def __getattr__(self, name):
        raise AttributeError(name)
ctypes.CDLL = lambda *_: Library()
sys.platform = "darwin"

for path in pathlib.Path("ppo").rglob("*.py"):
    if path.stem not in ("__main__", "tied"):
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
import run_atari
for command in sys.argv[2:], ["--resume", "--set=total_steps=128"], ["--evaluate=1"], ["--report"]:
    code = run_atari.main([f"--logdir={{sys.argv[1]}}", *command])
    assert code == 0, (command, code)
"""


def test_everything_is_imported_and_a_run_is_trained_resumed_and_played(tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(CART | {"total_steps": 64, "threads": None}))
    done = subprocess.run(
        [sys.executable, "-c", HIDE, str(tmp_path / "run"), f"--pfile={settings}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = progress.numbers(tmp_path / "run")
    assert [row["step"] for row in rows] == [32, 64, 96, 128]
    assert not any("system/rss_mb" in row for row in rows)


def test_file_without_a_name_is_a_temporary_one_where_there_is_none_in_memory(monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    with open(unnamed_file("anything"), "w+b") as file:
        file.write(b"content")
        file.seek(0)
        assert file.read() == b"content" and not os.get_inheritable(file.fileno())
