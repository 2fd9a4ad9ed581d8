import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from ppo.files.atomic import unshare, write_whole
from ppo.files.folder import (
    ORIGIN,
    FolderError,
    FolderGone,
    RunFolder,
    check_new,
    check_parent,
    check_run,
    check_unmoved,
    check_writable,
    numbered,
)
from ppo.files.lock import owned, visited, while_there
from tests.light.test_bad_files import EPISODE
from tests.processes import wait_until

ROOT = Path(__file__).parents[2]

HOLD = """
import sys
from pathlib import Path
from ppo.files.lock import owned
with owned(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process_holding(folder: Path):
    command = [sys.executable, "-c", HOLD, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def begun(folder: Path) -> Path:
    """A folder with a run."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "params.json").write_text("{}")
    (folder / "checkpoints" / "step-000000000000.ckpt").touch()
    return folder


# --- writing a file whole or not at all


def test_new_file_is_written_whole(tmp_path):
    write_whole(tmp_path / "a", b"content")
    assert tree(tmp_path) == {"a": b"content"}


def test_old_file_is_replaced(tmp_path):
    (tmp_path / "a").write_bytes(b"old and longer")
    write_whole(tmp_path / "a", b"new")
    assert tree(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_is_honoured(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "a", b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_error_names_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        write_whole(tmp_path / "a", b"new")
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "a"))


@pytest.mark.parametrize(("number", "is_written"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_file_system_that_flushes_no_folder_is_used(tmp_path, monkeypatch, number, is_written):
    def fail(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with nullcontext() if is_written else pytest.raises(OSError, match="error"):
        write_whole(tmp_path / "a", b"new")
    assert tree(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("before", [{}, {"a": b"old"}])
def test_failure_in_the_middle_leaves_what_was_there(tmp_path, monkeypatch, call, error, before):
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)

    def fail(*_):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write_whole(tmp_path / "a", b"new")
    assert tree(tmp_path) == before


# The limit makes the kernel break off the write itself, halfway.
FILE_TOO_LARGE = """
import resource, sys
from pathlib import Path
from ppo.files.atomic import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_whole(Path(sys.argv[1]), b"x" * 1_000_000)
except OSError as error:
    print(error.errno)
"""


def test_write_that_the_kernel_breaks_off_leaves_what_was_there(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    command = [sys.executable, "-c", FILE_TOO_LARGE, str(tmp_path / "a")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "27", done.stderr
    assert tree(tmp_path) == {"a": b"old"}


def test_reader_never_sees_half_a_file(tmp_path):
    contents = {bytes([65 + i]) * 300_000 for i in range(2)}
    path, done, seen = tmp_path / "a", threading.Event(), set()
    write_whole(path, min(contents))

    def read():
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        for content in contents:
            write_whole(path, content)
    done.set()
    reader.join()
    assert seen and seen <= contents


# --- may a new run begin here?


@pytest.mark.parametrize("name", ["new", "deep/er/new", "empty"])
def test_new_or_empty_folder_is_free_and_nothing_is_created(tmp_path, name):
    (tmp_path / "empty").mkdir()
    before = tree(tmp_path)
    check_new(tmp_path / name)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("check", [check_new, check_run, check_writable])
def test_a_name_that_is_not_utf_8_is_refused(check, tmp_path, monkeypatch):
    bad = tmp_path / os.fsdecode(b"caf\xe9") / "run"
    bad.mkdir(parents=True)
    RunFolder(bad).params.touch()
    monkeypatch.chdir(bad)
    for folder in (bad, Path("new") if check is check_new else Path()):
        with pytest.raises(FolderError, match="the name is not UTF-8; rename the folder"):
            check(folder)


@pytest.mark.parametrize("before", [[], ["runs"], ["runs", "runs/Pong-1"]])
def test_a_numbered_folder_is_left_only_if_a_run_began(before, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in before:
        (tmp_path / folder).mkdir()
    with pytest.raises(FolderError), numbered("PongNoFrameskip-v4") as logdir:
        raise FolderError(f"refused in {logdir}")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == before
    with numbered("PongNoFrameskip-v4") as logdir:
        RunFolder(logdir).params.touch()
    assert logdir.is_dir()


def test_folder_with_a_run_is_refused_offering_resume_and_a_free_name(tmp_path):
    run = begun(tmp_path / "run")
    (tmp_path / "run-2").mkdir()
    before = tree(tmp_path)
    with pytest.raises(FolderError, match="holds a run; resume it") as caught:
        check_new(run)
    assert str(run) in str(caught.value)
    assert str(caught.value).endswith(f"such as {tmp_path / 'run-3'}")
    check_new(tmp_path / "run-3")
    assert tree(tmp_path) == before


def test_folder_with_other_things_is_refused_without_offering_resume(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").write_text("dear")
    with pytest.raises(FolderError, match=r"run is not empty, it has letter\.txt; ") as caught:
        check_new(tmp_path / "run")
    assert "resume" not in str(caught.value)
    assert str(tmp_path / "run-2") in str(caught.value)


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="is a file"):
        check_new(tmp_path / "file")


def test_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="file is a file, not a folder"):
        check_new(tmp_path / "file" / "run")


@pytest.mark.parametrize("name", ["x" * 300, "nul\0byte", "nul\0byte/below"])
@pytest.mark.parametrize("check", [check_new, check_run])
def test_path_that_the_system_refuses_is_refused_in_one_line(tmp_path, name, check):
    with pytest.raises(FolderError, match=r"cannot be used: ") as caught:
        check(tmp_path / name)
    assert "\0" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FolderError, match=r"cannot be used: "), owned(tmp_path / name):
        pass


def test_name_is_not_too_long_where_the_file_system_states_no_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "pathconf", lambda *_: 0)  # as some file systems of FUSE
    check_new(tmp_path / "run")
    check_writable(tmp_path)


def test_longest_name_that_is_taken_has_a_free_one_named(tmp_path):
    begun(tmp_path / ("x" * 255))
    with pytest.raises(FolderError, match="holds a run"):
        check_new(tmp_path / ("x" * 255))


def test_root_of_all_folders_is_refused_offering_a_name():
    with pytest.raises(
        FolderError, match=r"^/ is not empty, .*; choose a free name, such as /run-2"
    ):
        check_new(Path("/"))


def test_partial_file_of_another_program_counts(tmp_path):
    (tmp_path / ".movie.partial").touch()
    with pytest.raises(FolderError, match="is not empty"):
        check_new(tmp_path)


def test_what_a_run_leaves_that_ended_before_its_first_checkpoint_does_not_count(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    left = ("params.json", "origin.json", ".lock", ".ppo-01.partial", "checkpoints/.ppo-02.partial")
    for name in left:
        (tmp_path / name).touch()
    before = tree(tmp_path)
    check_new(tmp_path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["params.json", "origin.json", "origin.ckpt"])
def test_a_file_of_the_user_is_no_remains_of_a_run(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(FolderError):
        check_new(tmp_path)


@pytest.mark.parametrize("name", ["progress.csv", "checkpoints/best.ckpt", "replays/a.json"])
def test_folder_with_settings_and_what_a_run_made_holds_a_run(tmp_path, name):
    (tmp_path / "params.json").touch()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(FolderError, match="holds a run"):
        check_new(tmp_path)


# The refusals for a user without rights, by each function for the folder that it is given.
UNPRIVILEGED = """
import os, sys
from pathlib import Path
from ppo.files.folder import FolderError, check_new, check_run
from ppo.files.lock import owned, visited

def own(path):
    with owned(path):
        pass

def read(path):
    with visited(path) as folder:
        print(folder.params.read_text())

if os.geteuid() == 0:
    os.setuid(65534)
functions = {"check_new": check_new, "check_run": check_run, "own": own, "read": read}
for name, path in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        functions[name](Path(path))
    except FolderError as error:
        print(error)
"""


@pytest.fixture
def public():
    """A folder that every user may read, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in folder.iterdir():
            path.chmod(0o700)


def refusals(*lines: str | Path) -> list[str]:
    command = [sys.executable, "-c", UNPRIVILEGED, *map(str, lines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_folder_that_cannot_be_listed_is_refused_in_one_line(public):
    (public / "secret" / "run").mkdir(parents=True)
    (public / "secret").chmod(0)
    paths = [public / "secret", public / "secret" / "run", public / "secret" / "new" / "run"]
    lines = refusals(*(part for path in paths for part in ("check_new", path, "check_run", path)))
    reason = "cannot be used: Permission denied"
    assert lines == [f"{path} {reason}" for path in paths for _ in range(2)]


def test_folder_that_may_only_be_read_can_be_visited_and_not_owned(public):
    (public / "run" / "checkpoints").mkdir(parents=True)
    (public / "run" / "params.json").write_text("sound")
    (public / "run").chmod(0o555)
    before = tree(public)
    lines = refusals("own", public / "run", "read", public / "run")
    assert lines == [f"{public / 'run'} cannot be used: Permission denied", "sound"]
    assert tree(public) == before


def test_folder_in_which_nothing_may_be_created_is_refused(public):
    (public / "readable").mkdir(0o555)
    run = public / "readable" / "new" / "run"
    before = tree(public)
    reason = f"{public / 'readable'} does not allow writing; use another folder"
    assert refusals("check_new", run) == [reason]
    assert tree(public) == before


# Commands that write beside a run, by a user without rights.
WRITERS = """
import encodings.utf_8_sig  # while Python's own files may be read
import os, sys
from pathlib import Path
from ppo.replay import __main__ as replay
from ppo.files.folder import FolderError
from ppo.evaluate.export import export_run
from ppo.evaluate.watch import watch_run
from ppo.evaluate.film import film

run, game = Path(sys.argv[1]), sys.argv[2]
if os.geteuid() == 0:
    os.setuid(65534)
for write, *more in ((watch_run, 1), (film,), (export_run, f"{run}/a.keras")):
    try:
        write(run, *more)
    except FolderError as error:
        print(error)
sys.stderr = sys.stdout
assert replay.main([game, "--video", f"{run}/a.mp4"]) == 2
"""


def test_a_folder_that_may_only_be_read_is_refused_before_anything_is_played(public):
    run = public / "run"
    (run / "replays").mkdir(parents=True)
    (run / "params.json").write_text('{"env_id": "Pong"}')
    (run / "replays" / "game.json").write_text(json.dumps(EPISODE))
    for path in (run / "replays", run):
        path.chmod(0o555)
    before = tree(public)
    command = [sys.executable, "-c", WRITERS, str(run), str(run / "replays" / "game.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    reason = "does not allow writing; use another folder"
    assert done.stdout.splitlines() == [
        f"{run / 'replays'} {reason}",
        f"{run} {reason}",
        f"{run} {reason}",
        f"--video: {run} {reason}",
    ]
    assert done.returncode == 0 and tree(public) == before


def test_working_folder_with_a_run_is_refused_like_any_other(tmp_path, monkeypatch):
    begun(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FolderError, match="holds a run"):
        check_new(Path("."))


# --- is there a run?


def test_folder_with_settings_holds_a_run(tmp_path):
    (tmp_path / "params.json").write_text("{}")
    check_run(tmp_path)


@pytest.mark.parametrize("name", ["absent", "empty", "file"])
def test_folder_without_settings_holds_no_run_and_nothing_is_created(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    before = tree(tmp_path)
    with pytest.raises(FolderError, match="holds no run") as caught:
        check_run(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert str(caught.value).endswith("start one with --pfile=FILE or --env=ID")
    assert tree(tmp_path) == before


def test_a_folder_of_runs_is_refused_with_the_names_of_some(tmp_path):
    for name in ("c", "a", "b", "d"):
        begun(tmp_path / name)
    with pytest.raises(FolderError, match="name one of the 4 below it") as caught:
        check_run(tmp_path)
    assert str(caught.value).endswith(", ".join(str(tmp_path / name) for name in "abc"))


# --- who owns it?


def test_owner_gets_a_folder_that_is_there(tmp_path):
    with owned(tmp_path / "deep" / "run") as folder:
        assert folder.name == tmp_path / "deep" / "run"
        assert folder.path.samefile(folder.name)
        assert folder.params == folder.path / "params.json"


def test_second_process_is_refused_and_the_first_continues(tmp_path):
    with other_process_holding(tmp_path) as holder:
        for _ in range(2):
            with pytest.raises(FolderError, match="in use by another process"), owned(tmp_path):
                pass
        assert holder.poll() is None


def test_a_forked_process_does_not_keep_the_locks(tmp_path):
    with owned(tmp_path):
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        process.start()
    try:
        wait_until(lambda: is_free(tmp_path), 10)
    finally:
        process.kill()


def is_free(folder: Path) -> bool:
    try:
        with owned(folder):
            return True
    except FolderError:
        return False


def test_second_process_is_refused_though_the_lock_file_was_removed(tmp_path):
    with other_process_holding(tmp_path):
        (tmp_path / ".lock").unlink()
        with pytest.raises(FolderError, match="in use by another process"), owned(tmp_path):
            pass


def test_second_process_is_refused_though_the_first_holds_the_lock_file_alone(tmp_path):
    # as on a file system that locks no folders, or a process of an older version
    with open(tmp_path / ".lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FolderError, match="in use by another process"), owned(tmp_path):
            pass


def test_partial_files_of_this_package_alone_are_removed(tmp_path):
    for place in ("checkpoints", "replays", "videos", "mine"):
        (tmp_path / place).mkdir()
    own = [
        ".ppo-0123abcd.partial",
        "checkpoints/.ppo-0123abcd.partial",
        "videos/.ppo-a.partial.mp4",
    ]
    foreign = [".movie.partial", "replays/.x.partial", "mine/.ppo-x.partial", "videos/a.partial"]
    for name in own + foreign:
        (tmp_path / name).touch()
    (tmp_path / ".ppo-1.partial/variables").mkdir(parents=True)  # of an exported SavedModel
    (tmp_path / ".ppo-1.partial/variables/data").touch()
    with owned(tmp_path):
        left = {name for name, content in tree(tmp_path).items() if content is not None}
    assert left == {".lock", *foreign}


def test_visitors_and_an_owner_do_not_exclude_each_other(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with other_process_holding(tmp_path), visited(tmp_path) as folder, visited(tmp_path):
        assert folder.name == tmp_path
    with visited(tmp_path), owned(tmp_path):
        pass


def test_visit_of_a_folder_leaves_no_trace(tmp_path):
    with visited(tmp_path):
        pass
    assert tree(tmp_path) == {}


def test_what_a_visitor_writes_is_not_taken_for_what_a_killed_process_left(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    partial = tmp_path / ".ppo-0123abcd.partial"
    partial.touch()
    with visited(tmp_path), owned(tmp_path):
        assert partial.exists()
    with owned(tmp_path):
        assert not partial.exists()


ADD_ONE = """
import sys
from pathlib import Path
from ppo.files.atomic import write_whole
from ppo.files.lock import exclusive
path = Path(sys.argv[1])
for _ in range(50):
    with exclusive(path):
        write_whole(path, b"%d" % (int(path.read_bytes()) + 1))
"""


def test_nothing_is_lost_where_several_processes_change_a_file(tmp_path):
    (tmp_path / "number").write_text("0")
    command = [sys.executable, "-c", ADD_ONE, str(tmp_path / "number")]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "150"


# --- which folder is it, once it has been moved?


def move(run: Path) -> Path:
    return run.rename(run.with_name("moved"))


def turn(run: Path) -> Path:
    """Let a link to the folder lead elsewhere."""
    place = run.resolve()
    run.unlink()
    run.with_name("elsewhere").mkdir()
    run.symlink_to("elsewhere")
    return place


@pytest.mark.parametrize("use", [owned, visited])
@pytest.mark.parametrize("take_away", [move, turn])
def test_what_is_written_goes_into_the_folder_and_not_to_its_name(tmp_path, use, take_away):
    run = tmp_path / "run"
    if take_away is turn:
        (tmp_path / "place").mkdir()
        run.symlink_to("place")
    begun(run)
    with use(run) as folder:
        assert folder.name == run
        place = take_away(run)
        begun(run)
        with other_process_holding(run):
            before = tree(run)
            write_whole(folder.evaluations, b"mine")
            folder.videos.mkdir()
            (folder.checkpoints / "step-000000000000.ckpt").unlink()
            assert tree(run) == before
        assert folder.name == place
        with pytest.raises(FolderError, match=f"^{place} holds a run"):
            check_new(folder.path)
    assert (place / "evaluations.jsonl").read_bytes() == b"mine"
    assert tree(place).keys() >= {"videos", "params.json"}
    assert not list((place / "checkpoints").iterdir())


@pytest.mark.parametrize("use", [owned, visited])
def test_folder_that_was_removed_is_gone_though_another_has_its_name(tmp_path, use):
    run = begun(tmp_path / "run")

    def write_after_removal():
        with use(run) as folder:
            shutil.rmtree(run)
            begun(run)
            assert folder.is_gone
            write_whole(folder.evaluations, b"mine")

    with pytest.raises(FolderGone, match=f"^{run} was moved or removed"):
        write_after_removal()
    assert tree(run) == tree(begun(tmp_path / "other"))


@pytest.mark.parametrize("new", [False, True])
def test_name_that_no_longer_leads_to_the_folder_is_noticed(tmp_path, new):
    run = begun(tmp_path / "run")
    with visited(run) as folder:
        check_unmoved(folder, run)
        move(run)
        if new:
            begun(run)
        check_unmoved(folder, tmp_path / "moved")
        with pytest.raises(FolderGone, match=f"^{run} was moved or removed"):
            check_unmoved(folder, run)


def test_file_that_is_missing_in_a_folder_that_is_there_is_no_folder_gone(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, owned(tmp_path) as folder:
        folder.params.read_bytes()
    assert caught.type is FileNotFoundError


def test_folder_that_was_emptied_is_gone(tmp_path):
    def write_after_removal():
        with owned(begun(tmp_path / "run")) as folder, while_there(folder):
            assert not folder.is_gone
            shutil.rmtree(folder.checkpoints)
            folder.params.unlink()
            assert folder.is_gone
            write_whole(folder.checkpoints / "best.ckpt", b"mine")

    with pytest.raises(FolderGone, match="run was moved or removed"):
        write_after_removal()


def test_errors_and_refusals_have_the_name_that_the_folder_has_now(tmp_path):
    run, moved = begun(tmp_path / "run"), tmp_path / "moved"

    def refuse(place: Path):
        with owned(place) as folder:
            move(place)
            raise FolderError(f"{folder.origin} is not valid")

    def fail(place: Path):
        with owned(place) as folder:
            folder.params.mkdir()

    with pytest.raises(FolderError, match=f"^{moved / ORIGIN} is not valid"):
        refuse(run)
    with pytest.raises(FileExistsError) as caught:
        fail(moved)
    assert caught.value.filename == str(moved / "params.json")


def test_folder_that_is_called_by_a_relative_path_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with owned(Path("runs/a")) as folder:
        assert folder.name == Path("runs/a")
        monkeypatch.chdir("/")
        assert folder.name == tmp_path / "runs" / "a"


def test_folder_is_free_again_after_its_owner_ends(tmp_path):
    with other_process_holding(tmp_path) as holder:
        holder.communicate()
        assert holder.returncode == 0
        with owned(tmp_path):
            pass


def test_folder_is_free_again_after_its_owner_was_killed(tmp_path):
    with other_process_holding(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        assert holder.wait() == -signal.SIGKILL
        left = tree(tmp_path)
        assert left, "the lock file is expected to stay behind"
        with owned(tmp_path):
            pass


def test_folder_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), owned(tmp_path):
        raise ZeroDivisionError
    with owned(tmp_path):
        pass


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(FolderError, match="cannot be used"), owned(path):
            pass


def test_a_folder_is_no_name_for_a_new_file(tmp_path):
    (tmp_path / "sheet.png").mkdir()
    with pytest.raises(FolderError, match=r"sheet\.png is a folder; name a file"):
        check_parent(tmp_path / "sheet.png")


# --- settings of the user, and links


def test_settings_without_a_lock_belong_to_the_user(tmp_path):
    (tmp_path / "params.json").touch()
    with pytest.raises(FolderError, match=r"is not empty, it has params\.json; choose a free name"):
        check_new(tmp_path)
    (tmp_path / ".lock").touch()  # a run that ended before it saved anything left both
    check_new(tmp_path)


PIPES = """
import os, sys
from pathlib import Path
from ppo.files.folder import FolderError
from ppo.files.lock import owned, visited

run = Path(sys.argv[1])
run.mkdir()
for use, name in ((visited, "checkpoints"), (owned, "checkpoints"), (owned, "replays")):
    os.mkfifo(run / name)
    try:
        with use(run):
            pass
    except FolderError as error:
        print(error)
    (run / name).unlink()
"""


def test_a_pipe_in_place_of_a_folder_of_a_run_is_refused_at_once(tmp_path):
    command = [sys.executable, "-c", PIPES, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    first, *others = done.stdout.splitlines()
    run, remedy = tmp_path / "run", "move it away"
    assert first == f"{run / 'checkpoints'} is not a folder; {remedy}"
    assert others == [f"{run / name} leads to no folder; {remedy}" for name in INNER[:2]]


def make_link(path: Path) -> None:
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("make", [Path.mkdir, make_link])
def test_a_lock_that_is_no_plain_file_is_refused(tmp_path, make):
    run = begun(tmp_path / "run")
    make(run / ".lock")
    with pytest.raises(FolderError, match=r"run/\.lock is not a plain file; move it"), owned(run):
        pass
    assert not (run / "elsewhere").exists()


INNER = ("checkpoints", "replays", "videos")


@pytest.mark.parametrize("name", INNER)
def test_a_link_into_another_run_is_refused_and_one_to_another_disk_is_not(tmp_path, name):
    other, disk, run = begun(tmp_path / "other"), tmp_path / "disk", tmp_path / "run"
    for folder in (other / name, disk / name, run):
        folder.mkdir(parents=True, exist_ok=True)
    (other / name / ".ppo-01.partial").touch()
    (run / name).symlink_to(f"../other/{name}")
    before = tree(other)
    refused = pytest.raises(FolderError, match=f"run/{name} leads into the run {other}; remove")
    with refused, owned(run):
        pass
    assert tree(other) == before
    (run / name).unlink()
    (run / name).symlink_to(disk / name)
    with owned(run):
        pass


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_that_is_shared_by_a_link_becomes_a_copy(tmp_path, link):
    (tmp_path / "file").write_text("content")
    link(tmp_path / "file", tmp_path / "shared")
    unshare(tmp_path / "absent")
    unshare(tmp_path / "shared")
    with open(tmp_path / "shared", "a") as file:
        file.write(" and more")
    assert tree(tmp_path) == {"file": b"content", "shared": b"content and more"}
