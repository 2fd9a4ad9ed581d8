"""Every kind of bad file in place of every small file of a run, for every command that reads it
without TensorFlow: it ends with a result or with a short message that names the file.
"""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import run_atari
from ppo import checkpoint
from ppo.autopsy import __main__ as autopsy
from ppo.checkpoint import Checkpoint
from ppo.evaluate.games import evaluate_run
from ppo.files import video
from ppo.files.folder import FolderError, RunFolder
from ppo.replay import __main__ as replay
from ppo.replay.replay import ReplayError, load
from ppo.report import board, card
from ppo.report.summary import commands, read_summary
from ppo.settings import Params
from ppo.sweep import __main__ as sweep
from ppo.system import streams
from ppo.telemetry import progress
from tests.light.test_explain import written

Bad = Callable[[Path], object]

GAME = "step-000000000000-to-000000000900-score_0"
PARAMS, ORIGIN, LOG = "params.json", "origin.json", "progress.csv"
EVALUATIONS, REPLAY = "evaluations.jsonl", f"replays/{GAME}.json"

EVALUATION = {"step": 900, "policy": "sampled", "scores": [1.0], "mean": 1, "low": 0, "high": 2}
EPISODE = {
    **{"game": "pong", "seed": 1, "resets": 0, "actions": [0] * 9, "frame_skip": 4},
    **{"sticky_action_probability": 0.0, "noop_max": 1, "fire_on_reset": False},
    **{"full_action_space": False, "max_frames_per_game": 36},
    **{"score": 0.0, "steps": 9, "frames": 36, "step": 900},
}


def level(entry: int) -> float:
    """Points per step that fall for good after entry 60."""
    return (1.0 if 15 <= entry < 60 else 0.1) + 0.01 * (entry * 7 % 5 - 2)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A fork with every small file, whose policy fell, and the run that it is of."""
    folder = tmp_path_factory.mktemp("original")
    tags = ("rollout/points_per_step", "rollout/ep_rew_mean")
    rows = [{"step": 32 * n + 32, **dict.fromkeys(tags, level(n))} for n in range(100)]
    params = Params(seed=1, threads=1, precision="float32", num_envs=4, num_steps=8)
    for name in ("run", "before"):
        run = RunFolder(written(folder / name, rows, params.to_json()))
        run.evaluations.write_text(json.dumps(EVALUATION) + "\n")
        checkpoint.save(run, Checkpoint(1600, {"weights/0": np.zeros(2)}), kept=9)
        for place in (run.replays, run.videos):
            place.mkdir()
        for at, stem in ((900, GAME), (1, f"{GAME}1"), (2, f"{GAME}2")):
            (run.replays / f"{stem}.json").write_text(json.dumps(EPISODE | {"step": at}))
    picture = np.zeros((36, 36, 3), np.uint8)
    video.write(folder / "run" / "videos" / f"{GAME}.mp4", iter([picture] * 2), 30)
    return folder / "run"


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original.parent, tmp_path, dirs_exist_ok=True)
    facts = {"run": str(tmp_path / "before"), "step": 16, "changes": {"seed": [1, 2]}}
    (tmp_path / "run" / ORIGIN).write_text(json.dumps(facts))
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def _alarm() -> Iterator[None]:
    """What waits for ever fails."""

    def fail(*_: object) -> None:
        pytest.fail("it waits for ever")

    streams.warn.cache_clear()
    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def _small(monkeypatch) -> None:
    """A report makes neither film nor network, which take seconds."""
    for made in ("report.film", "card.export_run"):
        monkeypatch.setattr(f"ppo.report.{made}", lambda *_, **__: None)


def holding(content: bytes) -> Bad:
    return lambda path: path.write_bytes(content)


BAD: dict[str, Bad] = {
    "fifo": os.mkfifo,
    "folder": os.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "huge": lambda path: path.touch() or os.truncate(path, 2**40),
    "empty": holding(b""),
    "deep list": holding(b"[" * 100_000 + b"\n"),
    "deep object": holding(b'{"step":' * 900 + b"1" + b"}" * 900 + b"\n"),
    "wrong type": holding(b'{"step": [], "run": {}, "score": "x", "env_id": 1}\n'),
    "null": holding(b"null\n"),
    "NaN": holding(b'{"step": NaN, "run": NaN, "score": NaN, "env_id": NaN}\n'),
    "not UTF-8": holding(b'{"step": "\xff"}\n'),
    "NUL": holding(b"\x00" * 100 + b"\n"),
    "long line": holding(b"9" * 200_000 + b"\n"),
    "of another program": holding(b"time/iterations,rollout/ep_rew_mean\r\n1,2\r\n"),
}


NO_FILES = ("fifo", "folder", "device", "link to nothing", "huge")


def report(run: Path) -> int:
    return run_atari.main([f"--logdir={run}", "--report"])


def explain(run: Path) -> int:
    return run_atari.main([f"--logdir={run}", "--explain"])


def film(run: Path) -> int:
    return run_atari.main([f"--logdir={run}", "--film"])


def resume(run: Path) -> int:
    return run_atari.main([f"--logdir={run}", "--resume"])


def evaluate(run: Path) -> int:
    return run_atari.main([f"--logdir={run}", "--evaluate"])


def watch(run: Path) -> int:
    return run_atari.main([f"--logdir={run}", "--watch"])


def export(run: Path) -> int:
    return run_atari.main([f"--logdir={run}", "--export", f"{run.parent / 'agent.keras'}"])


def fork(run: Path) -> int:
    return run_atari.main([f"--logdir={run.parent / 'fork'}", f"--fork={run}"])


def make_autopsy(run: Path) -> int:
    return autopsy.main([str(run), "--only=nothing"])  # all files are read, and nothing begins


def draw(run: Path) -> int:
    return sweep.main([f"--draw=a={run}", f"--logdir={run.parent / 'drawn'}"])


def sweep_of(run: Path) -> int:
    return sweep.main([f"--pfile={run / PARAMS}", f"--logdir={run.parent / 'swept'}"])


def sweep_again(run: Path) -> int:
    begun = run.parent / "swept" / "plain" / "seed-0"
    begun.mkdir(parents=True)
    shutil.move(run / PARAMS, begun)
    return sweep.main([f"--pfile={run.parent / 'before' / PARAMS}", f"--logdir={begun.parents[1]}"])


def play_again(run: Path) -> int:
    return replay.main([str(run / REPLAY)])


READ_BY = {
    report: [PARAMS, ORIGIN, LOG, EVALUATIONS, REPLAY],
    explain: [ORIGIN, LOG],
    film: [PARAMS, LOG],
    resume: [PARAMS, LOG, EVALUATIONS],
    evaluate: [PARAMS, EVALUATIONS],
    watch: [PARAMS],
    export: [PARAMS],
    fork: [PARAMS],
    make_autopsy: [PARAMS, ORIGIN, LOG],
    draw: [LOG],
    sweep_of: [PARAMS],
    sweep_again: [PARAMS],
    play_again: [REPLAY],
}


def is_refused_early(command: Callable[[Path], int], name: str, kind: str) -> bool:
    """Whether TensorFlow is not started. A run that has just begun has an empty log."""
    starts = command in (resume, evaluate) and name == EVALUATIONS
    return kind in NO_FILES or not (starts or (name == LOG and kind == "empty"))


CASES = [
    (command, name, kind)
    for command, names in READ_BY.items()
    for name in names
    for kind in BAD
    if is_refused_early(command, name, kind)
]


@pytest.mark.parametrize(("command", "name", "kind"), CASES)
def test_a_bad_file_is_refused_or_passed_over_with_a_message(run, command, name, kind, capsys):
    (run / name).unlink()
    BAD[kind](run / name)
    code = command(run)
    output = capsys.readouterr()
    said, lines = output.out + output.err, output.err.splitlines()
    assert code in (0, 1, 2) and "Traceback" not in said
    if name == PARAMS and kind in ("wrong type", "NaN"):  # one line for each fault
        assert "env_id = " in lines[-1] and code == 2
    elif (name, kind) != (EVALUATIONS, "empty"):
        assert Path(name).name in said and 1 <= len(lines) <= 2
    assert max(map(len, lines), default=0) < 1000


def test_files_whose_lines_end_as_on_windows_are_read_as_they_were(run, capsys):
    def answers() -> list[object]:
        return [(command(run), capsys.readouterr()) for command in (report, explain, make_autopsy)]

    before = answers()
    for name in (PARAMS, ORIGIN, LOG, EVALUATIONS, REPLAY):
        path = run / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert answers() == before and before[0][0] == 0


ODD = [None, True, "x", "\ud800", "a\0b", [], {}, [[]], {"a": 1}, -1, 1.5, 2**63, 10**400]
NOT_FINITE = ["NaN", "-Infinity", "1e999"]


@pytest.mark.parametrize("name", [ORIGIN, EVALUATIONS, REPLAY])
def test_each_value_of_a_file_may_be_anything(run, name):
    sound = json.loads((run / name).read_text())
    texts = [json.dumps(sound | {key: odd}) for key in sound for odd in ODD]
    for key in sound:
        texts += [json.dumps(sound | {key: "here"}).replace('"here"', n) for n in NOT_FINITE]
    for text in texts:
        (run / name).write_text(text)
        with contextlib.suppress(FolderError):
            if name != REPLAY or '"score": 0.0,' not in text:  # else it is only read, as below
                card.write(run, run / "card")
        with contextlib.suppress(ReplayError):
            load(run / REPLAY)


def test_numbers_at_the_ends_of_their_range_are_shown(run, capsys):
    for largest in (1e308, 3e38):
        ends = {"mean": 0, "low": -largest, "high": largest, "step": 2**63 - 1}
        with open(run / EVALUATIONS, "a") as file:
            file.write(json.dumps(EVALUATION | ends) + "\n")
    head, *rows = (run / LOG).read_text().splitlines()
    numbers = ("1e308", "-1e308", "3e38", "-3e38", "1e-320")
    odd = [f"{2**62 + n},{number},{number}" for n, number in enumerate(numbers * 9)]
    (run / LOG).write_text("\n".join([head, *rows[:50], *odd, *rows[50:], ""]))
    assert (report(run), explain(run)) == (0, 0)
    assert "Traceback" not in capsys.readouterr().err


def test_rows_that_are_no_entries_do_not_take_the_others_with_them(run, capsys):
    head, *rows = (run / LOG).read_text().splitlines()
    bad = ["nan,1,1", "inf,1,1", "1e3,1,1", "-5,1,1", ",1,1", "7,1", "7,1,1,1", "7,x,1", '7,"1,1']
    (run / LOG).write_text("\n".join([head, *bad, *rows, "8,nan,inf", ""]))
    found = progress.numbers(run)
    assert [row["step"] for row in found] == [32 * n + 32 for n in range(100)] + [8]
    assert found[-1] == {"step": 8}
    said = capsys.readouterr().err
    assert f"{len(bad)} rows are skipped; line 2: step: " in said
    assert len(said.splitlines()) == 1 and explain(run) == 0


@pytest.mark.parametrize("others", [[], ["b"], ["b", "c"]])
def test_forks_that_lead_back_to_themselves_end_with_a_warning(run, others, capsys):
    """As after `mv FORK RUN`: of a fork that has the name of what it came from, or of a circle."""
    names = ["run", *others]
    for name, next_name in zip(names, [*others, "run"], strict=True):
        if name != "run":
            shutil.copytree(run, run.with_name(name))
        facts = {"run": str(run.with_name(next_name)), "step": 16, "changes": {"seed": [1, 2]}}
        (run.with_name(name) / ORIGIN).write_text(json.dumps(facts))
    assert (report(run), explain(run), make_autopsy(run)) == (0, 0, 2)
    output = capsys.readouterr()
    assert output.err.count("lead back to") == 1 and "no such change" in output.err
    assert "the policy collapsed" in output.out
    assert others or "--set seed=2" in commands(read_summary(run))  # nothing else is known of it


def test_the_board_shows_no_folder_whose_log_is_not_a_file(run):
    (run / "events.out.tfevents.1.host").touch()
    board.check(run)
    os.mkfifo(run / "events.out.tfevents.2.host")
    with pytest.raises(FolderError, match="not a regular file"):
        board.check(run)


def test_a_file_is_not_a_run_to_evaluate(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(FolderError, match="run holds no run"):
        evaluate_run(tmp_path / "run", 1)
