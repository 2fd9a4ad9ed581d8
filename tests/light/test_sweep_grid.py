"""What a sweep refuses, before anything is created; when a run is done; what the results show."""

import errno
import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from ppo import checkpoint, train
from ppo.checkpoint import Checkpoint, TrainerFacts
from ppo.envs.registry import resolved
from ppo.errors import ExitCode
from ppo.files.folder import LOCK, RunFolder
from ppo.params import ParamsError
from ppo.runs.start import RunState
from ppo.settings import Params
from ppo.sweep import __main__ as sweep
from ppo.sweep import grid, parallel, results, sample
from ppo.system.children import Children
from ppo.telemetry.counters import Tally

CART_POLE = {"env_id": "CartPole-v1", "network": "mlp", "num_steps": 32, "total_steps": 512}


@pytest.fixture
def pfile(tmp_path) -> Path:
    path = tmp_path / "base.json"
    path.write_text(json.dumps(CART_POLE))
    return path


@pytest.fixture
def refused(tmp_path, pfile, capsys, monkeypatch):
    """Call the command, which must refuse; returns what it said."""

    monkeypatch.setattr("ppo.train.find_spec", lambda _: None)
    monkeypatch.setattr("ppo.train.available_memory", lambda: 2**29)

    def call(*arguments: str, logdir: Path = tmp_path / "sweep") -> str:
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sweep, "train_all", lambda *_: pytest.fail("a run began"))
        assert sweep.main([f"--logdir={logdir}", f"--pfile={pfile}", *arguments]) == 2
        assert sorted(tmp_path.rglob("*")) == before
        said = capsys.readouterr()
        assert said.out == ""
        return said.err

    return call


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--vary=gama=1"], "gamma"),
        (["--vary=gamma=2"], "gamma = 2"),
        (["--seeds=a"], "--seeds='a'"),
        (["--seeds="], "--seeds=''"),
        (["--seeds=0,1,0,0"], "0 is given twice"),
        (["--seeds=1,01"], "1 is given twice"),
        (["--seeds=2147483648"], "from 0 to 2147483647"),
        ([f"--seeds={'9' * 5000}"], "from 0 to 2147483647"),
        (["--seeds=-1"], "from 0 to 2147483647"),
        (["--workers=0"], "--workers='0'"),
        (["--workers=two"], "--workers='two'"),
        (["--variant=x:gamma=0.9", "--variant=x:gamma=0.8"], "--variant: two are named 'x'"),
        (["--variant=a/b", "--variant=a_b"], "'a/b' and 'a_b' would share the folder 'a_b'"),
        (["--vary=env_id=CartPole-v1,CartPole-v1"], "env_id=CartPole-v1 is given twice"),
        (["--vary=gamma=0.9", "--vary=gamma=0.8"], "--vary gamma: is given twice"),
        (["--variant=x:gamma=0.9,gamma=0.8"], "variant 'x' gamma: is given twice"),
        (["--variant=x:gamma=0.9", "--vary=gamma=0.8,0.7"], "'x' gamma: --vary sets it too"),
        (["--vary=seed=1,2"], "use --seeds"),
        (["--vary=workers=1,2"], "workers = 2: each run here is one process"),
        (["--set=wandb_project=x"], "Weights & Biases is not installed"),
        (["--set=num_envs=1024", "--set=num_steps=65536"], "of memory. This process has"),
        (["--vary=threads=1,2"], "use --workers"),
        (["--variant=x:seed=1"], "use --seeds"),
        (["--variant=x:threads=1"], "use --workers"),
        (["--vary=gamma"], "'gamma=' is no setting with a value"),
        (["--vary=gamma="], "'gamma=' is no setting with a value"),
        (["--vary=gamma=0.9,,0.8"], "'gamma=' is no setting with a value"),
        (["--vary==0.9"], "'=0.9' is no setting with a value"),
        (["--variant=x:gamma"], "'gamma' is no setting with a value"),
        (["--variant=x:gamma="], "'gamma=' is no setting with a value"),
        (["--variant=x:"], "'' is no setting with a value"),
        (["--variant="], "it has no name"),
        (["--variant=:gamma=0.9"], "it has no name"),
        (["--variant=.."], "'..' cannot be the name of its folder"),
        (["--variant=."], "'.' cannot be the name of its folder"),
        (["--variant=.lock"], "'.lock' cannot be the name of its folder"),
        (["--variant=.ppo-x.partial"], "'.ppo-x.partial' cannot be the name of its folder"),
        (["--variant=settings-0.json"], "'settings-0.json' cannot be the name of its folder"),
        (["--vary=gamma=0.9,0.90"], "'gamma=0.9' and 'gamma=0.90' have the same settings"),
        (["--vary=mlp_sizes=[64,64],[64, 64]"], "have the same settings; leave one out"),
        (["--vary=gamma=0.9,9e-1", "--seeds=0,1"], "have the same settings"),
        (["--sample", "2", "gamma=choice(0.9,0.90)"], "have the same settings"),
        (["--variant=/x"], "'/x' cannot be the name of its folder"),
        (["--variant=a\0b"], r"'a\x00b' cannot be the name of its folder"),
        (["--variant=a\nb"], r"'a\nb' cannot be the name of its folder"),
        (["--variant=a\udc80"], r"'a\udc80' cannot be the name of its folder"),
        (["--variant=table.md"], "'table.md' cannot be the name of its folder"),
        (["--vary=gamma=0.9\n,0.8"], r"'gamma=0.9\n' holds a character that cannot be printed"),
        (["--set=gamma"], "'gamma' is no setting with a value"),
        (["--set=seed=1"], "use --seeds"),
        (["--set=gamma=0.9", "--set=gamma=0.8"], "--set gamma: is given twice"),
        (["--set=gamma=0.9", "--vary=gamma=0.8,0.7"], "--vary gamma: --set sets it too"),
        (["--set=gamma=0.9", "--variant=x:gamma=0.8"], "'x' gamma: --set sets it too"),
        (["--sample", "2"], "write a number of samples"),
        (["--sample", "0", "gamma=uniform(0,1)"], "write a number of samples"),
        (["--sample", "10001", "gamma=uniform(0,1)"], "a number of samples from 1 to 10,000"),
        (["--sample", "9" * 5000, "gamma=uniform(0,1)"], "a number of samples from 1 to 10,000"),
        (["--sample", "2", "gamma=uniform(0,1e400)"], "LOW and HIGH must be finite numbers"),
        (["--sample", "2", "gamma=uniform(-1e308,1e308)"], "LOW and HIGH must be finite numbers"),
        (["--sample", "2", f"num_epochs=int(1,{10**400})"], "must be finite numbers"),
        (["--sample", "2", "gamma=normal(0,1)"], "write KEY=uniform(LOW,HIGH)"),
        (["--sample", "2", "gamma=uniform(1,0)"], "LOW must be below HIGH"),
        (["--sample", "2", "gamma=uniform(0)"], "needs two numbers"),
        (["--sample", "2", "gamma=loguniform(0,1)"], "LOW must be above 0"),
        (["--sample", "2", "num_epochs=int(1,2.5)"], "needs two whole numbers"),
        (["--sample", "3", "num_epochs=int(1,2)"], "only about 2 different samples"),
        (["--sample", "1", "seed=int(1,9)"], "use --seeds"),
        (["--sample", "1", "gamma=uniform(2,3)"], "gamma = 2"),
        (["--sample", "1", "gamma=uniform(0,1)", "gamma=uniform(0,1)"], "gamma: is given twice"),
        (["--sample", "1", "gamma=uniform(0,1)", "--set=gamma=1"], "gamma: --set sets it too"),
        (["--sample-seed=1"], "--sample-seed goes with --sample"),
        (["--sample", "1", "gamma=uniform(0,1)", "--sample-seed=x"], "--sample-seed='x'"),
        (["--sample", "1", "gamma=uniform(0,1)", "--sample-seed="], "--sample-seed=''"),
        (["--cluster="], "--cluster is empty"),
        (["--draw=x"], "--draw 'x': write NAME=RUN,RUN"),
        (["--draw=x="], "--draw 'x=': write NAME=RUN,RUN"),
        (["--draw=x=run,"], "--draw 'x=run,': write NAME=RUN,RUN"),
        (["--draw==run"], "--draw '=run': write NAME=RUN,RUN"),
        (["--draw=x=run,run/../run"], "run is shown twice as 'x'"),
    ],
)
def test_a_bad_argument_is_one_line(refused, arguments, named):
    said = refused(*arguments)
    assert named in said
    assert said.count("\n") == 1


def runs_of(*arguments: str) -> list[grid.Run]:
    options = sweep._parse(["--logdir=d", "--env=CartPole-v1", *arguments])
    faults: list[str] = []
    runs = sweep._runs(options, {"env_id": "CartPole-v1", "network": "mlp"}, faults)
    assert not faults
    return runs


@pytest.mark.parametrize(
    "arguments",
    [["--sample", "2", "gamma=choice(0,1)"], ["--seeds=0,1"], ["--workers=2"], ["--env=Pong"]],
)
def test_an_option_that_is_given_twice_is_refused(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as end:
        sweep.main([f"--logdir={tmp_path / 'new'}", *arguments, *arguments])
    option = arguments[0].partition("=")[0]
    assert end.value.code == 2 and f"error: {option} is given twice\n" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_runs_are_named_by_what_differs_and_their_folders_by_all_that_was_varied():
    shared = ["--set=num_steps=32", "--vary=gamma=0.9,0.99", "--vary=total_steps=512"]
    first, other = runs_of(*shared)
    assert (first.variant, other.variant) == ("gamma=0.9", "gamma=0.99")
    assert first.folder == Path("d/gamma=0.9_total_steps=512/seed-0")  # as sweeps before have it
    assert first.overrides[:3] == ("num_steps=32", "gamma=0.9", "total_steps=512")
    assert runs_of("--vary=total_steps=512")[0].variant == "total_steps=512"
    assert runs_of("--set=total_steps=512")[0].variant == "plain"


def test_a_list_is_one_value():
    varied = [run.overrides[0] for run in runs_of("--vary=mlp_sizes=[64, 64],[32]")]
    assert varied == ["mlp_sizes=[64, 64]", "mlp_sizes=[32]"]
    (named,) = runs_of("--variant=a:mlp_sizes=[64,32],gamma=0.9")
    assert named.overrides[:2] == ("mlp_sizes=[64,32]", "gamma=0.9")
    sampled = runs_of("--sample", "2", "mlp_sizes=choice([64,64],[32])")
    assert {run.overrides[0] for run in sampled} == {"mlp_sizes=[64,64]", "mlp_sizes=[32]"}
    folders = [Path("mlp_sizes=[64,64]"), Path("mlp_sizes=[32]")]
    assert grid.parse_draws([f"x={folders[0]},{folders[1]}"], []) == {"x": folders}


def test_a_random_search_is_repeated_by_its_seed_and_continued_by_a_larger_number():
    ranges = ["learning_rate=loguniform(1e-4,1e-2)", "num_epochs=int(2,4)", "gamma=uniform(0.9,1)"]
    ranges.append("value_gradient=choice(shared,separate)")
    some, all_ = (
        [run.overrides for run in runs_of("--sample", number, *ranges)] for number in ("5", "40")
    )
    assert all_[:5] == some and len({*all_}) == 40
    drawn = [dict(text.split("=") for text in overrides) for overrides in all_]
    rates = [float(one["learning_rate"]) for one in drawn]
    assert 1e-4 <= min(rates) < 4e-4 and 2.5e-3 < max(rates) <= 1e-2
    assert sum(rate < 1e-3 for rate in rates) in range(12, 29)  # half of them
    assert {one["num_epochs"] for one in drawn} == {"2", "3", "4"}
    assert all(0.9 <= float(one["gamma"]) <= 1 for one in drawn)
    assert {one["value_gradient"] for one in drawn} == {"shared", "separate"}
    other = runs_of("--sample", "5", *ranges, "--sample-seed=1")
    assert not {run.overrides for run in other} & {*all_}
    assert other[0].variant.startswith("learning_rate=")


@pytest.mark.parametrize(
    ("low", "high"), [(0.9999996, 0.9999999), (0.1234567, 0.1234569), (0.99, 0.9999)]
)
def test_a_narrow_range_has_many_values_within_its_limits(low, high):
    faults: list[str] = []
    drawn = sample.parse(["500", f"gamma=uniform({low},{high})"], 0, faults)
    values = [float(one.removeprefix("gamma=")) for (one,) in drawn]
    assert not faults and all(low <= value <= high for value in values)


def test_a_sweep_of_a_game_begins_with_its_default_settings(tmp_path, monkeypatch):
    seen = []

    def train_all(runs, workers, children, source, settings, check):
        seen.append(settings(runs[0]))
        return []

    monkeypatch.setattr(sweep, "train_all", train_all)
    sweep.main(["--env=CartPole-v1", f"--logdir={tmp_path / 'sweep'}"])
    assert (seen[0].env_id, seen[0].network) == ("CartPole-v1", "mlp")


def test_all_faults_are_listed_at_once(refused, tmp_path):
    (tmp_path / "file").write_text("")
    said = refused(
        *("--seeds=0,0", "--workers=0", "--variant=..", "--variant=x:gama=1", "--vary=seed=1"),
        logdir=tmp_path / "file",
    )
    assert len(said.splitlines()) == 6
    for named in ("file", "--seeds", "--workers", "'..'", "gama", "seed cannot be varied"):
        assert named in said


def test_a_faulty_range_does_not_hide_the_faults_of_the_others(refused):
    ranges = ["gamma=uniform(0,1e400)", "seed=int(0,5)", "gamma=uniform(0,1)"]
    said = refused("--sample", "3", *ranges)
    assert len(said.splitlines()) == 3
    for named in ("--sample gamma: is given twice", "must be finite", "use --seeds"):
        assert named in said


@pytest.mark.parametrize(
    "argument", ["--vary=gamma=0.9", "--variant=x", "--seeds=1", "--workers=2"]
)
def test_arguments_of_a_grid_without_one_are_refused(tmp_path, capsys, argument):
    assert sweep.main([f"--logdir={tmp_path / 'd'}", "--draw=x=run", argument]) == 2
    assert "goes with --pfile or --env" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("env", ["", "Pong"])
def test_a_game_beside_a_file_is_refused(tmp_path, capsys, env):
    with pytest.raises(SystemExit) as ended:
        sweep.main([f"--logdir={tmp_path / 'd'}", "--pfile=pong", f"--env={env}"])
    assert ended.value.code == 2 and "--set env_id=ID\n" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("given", ["--set=env_id=Pong", "--vary=env_id=CartPole-v1,Pong"])
def test_a_game_beside_another_game_is_refused(tmp_path, capsys, given):
    assert sweep.main([f"--logdir={tmp_path / 'd'}", "--env=CartPole-v1", given]) == 2
    assert "--env and env_id both name the game; leave" in capsys.readouterr().err


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_file_in_place_of_the_folder_is_refused(refused, tmp_path, below):
    (tmp_path / "file").write_text("")
    assert "file is a file, not a folder" in refused(logdir=tmp_path / "file" / below)


@pytest.mark.parametrize(
    "logdir", ["/proc/sweep", "/proc/1/sweep/sub", "x" * 300, "y/" + "x" * 300, "nul\0byte"]
)
def test_a_folder_that_cannot_be_created_is_refused(refused, tmp_path, logdir):
    assert "cannot be used" in refused(logdir=tmp_path / logdir)


def test_a_broken_link_in_place_of_the_folder_is_refused(refused, tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    assert "link is a file, not a folder" in refused(logdir=tmp_path / "link")


def test_a_file_in_place_of_a_variant_is_refused(refused, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "x").write_text("")
    assert "x is a file, not a folder" in refused("--variant=x")


def test_a_damaged_params_file_of_a_run_is_refused_by_name(refused, tmp_path):
    run = tmp_path / "sweep" / "plain" / "seed-0"
    run.mkdir(parents=True)
    (run / "params.json").write_text('{"gamma": 7}')
    assert f"{run / 'params.json'}: gamma = 7" in refused()


def test_a_run_with_other_settings_is_refused(refused, tmp_path):
    run = tmp_path / "sweep" / "plain" / "seed-0"
    run.mkdir(parents=True)
    (run / "params.json").write_text(json.dumps(CART_POLE | {"seed": 0, "gamma": 0.5}))
    assert "another gamma than 0.99" in refused()


def test_a_run_with_a_setting_that_is_now_null_is_refused(refused, tmp_path):
    run = tmp_path / "sweep" / "plain" / "seed-0"
    run.mkdir(parents=True)
    (run / "params.json").write_text(json.dumps(CART_POLE | {"seed": 0, "target_kl": 0.02}))
    assert "another target_kl than null" in refused()


def test_a_run_with_another_value_than_an_open_setting_gets_is_refused(run):
    run.folder.mkdir(parents=True)
    begun = resolved(SETTINGS).model_copy(update={"sticky_action_probability": 0.25})
    RunFolder(run.folder).params.write_text(begun.to_json())
    (fault,) = grid.begun_faults(run, SETTINGS)
    assert "another sticky_action_probability than 0.0;" in fault


def test_runs_begin_with_the_settings_that_the_sweep_began_with(tmp_path, monkeypatch):
    pfile = tmp_path / "edited.json"
    pfile.write_text(json.dumps(CART_POLE))
    copies = []

    def train_all(runs, workers, children, source, *_):
        copies.append(Path(source.removeprefix("--pfile=")))
        return []

    monkeypatch.setattr(sweep, "train_all", train_all)
    sweep.main([f"--pfile={pfile}", f"--logdir={tmp_path / 'sweep'}"])
    pfile.write_text("{}")
    sweep.main([f"--pfile={pfile}", "--variant=other", f"--logdir={tmp_path / 'sweep'}"])
    assert [json.loads(copy.read_text()) for copy in copies] == [CART_POLE, {}]


def test_runs_that_leave_the_precision_open_get_the_same_one(tmp_path, computes_in_bfloat16):
    (tmp_path / "open.json").write_text('{"network": "a3c", "precision": "auto"}')
    arguments = [f"--pfile={tmp_path / 'open.json'}", "--seeds=0,1", f"--logdir={tmp_path / 'd'}"]
    plan = sweep._plan(sweep._parse(arguments))
    assert ["precision=bfloat16" in run.overrides for run in plan.runs] == [True, True]
    for seed, precision in enumerate(("float32", "bfloat16")):
        run = tmp_path / "d" / "plain" / f"seed-{seed}"
        run.mkdir(parents=True)
        begun = {"network": "a3c", "seed": seed, "precision": precision}
        (run / "params.json").write_text(json.dumps(begun))
    with pytest.raises(
        ParamsError, match="precision is left open, but runs have begun in bfloat16"
    ):
        sweep._plan(sweep._parse(arguments))


def folders(labels: list[str]) -> list[str]:
    return [run.folder.parent.name for run in grid.parse(labels).runs(Path("d"), [0], 1)]


def test_a_long_label_has_a_short_folder_of_its_own():
    names = folders(["ä" * 200, "ä" * 201, "x" * 255, "x" * 256])
    assert len({*names}) == 4
    assert names[2] == "x" * 255
    assert all(len(name.encode()) <= 255 for name in names)
    assert names == folders(["ä" * 200, "ä" * 201, "x" * 255, "x" * 256])


def saved(folder: Path, step: int, tally: Tally = Tally(), **due: bool) -> Path:  # noqa: B008
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: {"due": is_due} for name, is_due in due.items()}
    state = Checkpoint(step, {"weights/0": np.zeros(2)}, TrainerFacts(tally=tally), parts)
    checkpoint.save(RunFolder(folder), state, kept=3)
    return RunFolder(folder).checkpoints / f"step-{step:012d}.ckpt"


@pytest.fixture
def run(tmp_path) -> grid.Run:
    return grid.parse([]).runs(tmp_path, [0], 1)[0]


SETTINGS = Params(**CART_POLE)


def test_a_run_with_a_checkpoint_of_its_last_step_is_finished(run):
    assert not parallel.finished(run, SETTINGS)
    saved(run.folder, 256)
    assert not parallel.finished(run, SETTINGS)
    saved(run.folder, 512)
    assert parallel.finished(run, SETTINGS)


def test_a_run_whose_last_checkpoint_is_junk_is_not_finished(run):
    saved(run.folder, 256)
    saved(run.folder, 512).write_bytes(b"junk")
    assert not parallel.finished(run, SETTINGS)


def test_a_run_that_has_its_last_evaluation_before_it_is_not_finished(run):
    saved(run.folder, 512, evaluation=True)
    assert not parallel.finished(run, SETTINGS)


def test_a_run_that_reached_its_score_is_finished_and_is_continued_without_it(run):
    params = resolved(Params(**CART_POLE, stop_at_score=5, seed=0))
    saved(run.folder, 256, Tally(recent=((5.0, 9),) * 99))
    assert not parallel.finished(run, params)
    saved(run.folder, 256, Tally(recent=((5.0, 9),) * 100))
    assert parallel.finished(run, params) and not parallel.finished(run, SETTINGS)
    folder = RunFolder(run.folder)
    folder.params.write_text(params.to_json())
    done = checkpoint.newest(folder)
    now = RunState(params=params.model_dump())
    checkpoint.save(folder, done.with_part("run", now), kept=3)
    with pytest.raises(
        ParamsError,
        match=r"so gamma would .* --set stop_at_score=null",
    ):
        train.resume(run.folder, ["gamma=0.5"])


def test_a_copy_of_a_checkpoint_does_not_count(run):
    content = saved(run.folder, 256).read_bytes()
    copy = RunFolder(run.folder).checkpoints / "step-copy.ckpt"
    copy.write_bytes(content)
    assert not parallel.finished(run, SETTINGS)
    saved(run.folder, 512)
    assert parallel.finished(run, SETTINGS)


# --- processes

COUNT_SIGNALS = """
import signal, sys, time
seen = []
signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
print("ready", flush=True)
while not seen:
    time.sleep(0.01)
time.sleep(0.5)
sys.exit(40 + len(seen))
"""


def test_processes_that_are_stopped_twice_get_one_signal(tmp_path):
    children, path = Children(), tmp_path / "out"
    command = [sys.executable, "-c", COUNT_SIGNALS]
    with open(path, "w") as out, ThreadPoolExecutor(1) as pool:
        ended = pool.submit(children.call, command, out, out)
        while not path.read_text():
            time.sleep(0.01)
        children.stop()
        time.sleep(0.1)
        children.stop()
        assert ended.result() == 41
        assert children.call(command, out, out) == ExitCode.STOPPED


# --- results


def logged(folder: Path, *scores: float) -> Path:
    folder.mkdir(parents=True)
    rows = [f"{100 * number},{score}" for number, score in enumerate(scores, 1)]
    text = "\n".join(["step,rollout/ep_rew_mean", *rows])
    (folder / "progress.csv").write_text(text + "\n")
    return folder


def shown(tmp_path: Path, *draws: str, logdir: str = "d") -> tuple[int, Path]:
    folder = tmp_path / logdir
    return sweep.main([f"--logdir={folder}", *(f"--draw={draw}" for draw in draws)]), folder


def test_drawing_what_is_not_there_is_refused_before_anything_is_made(tmp_path, capsys):
    good, other = logged(tmp_path / "good", 1, 2), tmp_path / "other"
    other.mkdir()
    code, logdir = shown(tmp_path, f"x={good},{tmp_path / 'nowhere'}", f"y={other}")
    said = capsys.readouterr()
    assert code == 2 and not logdir.exists() and said.out == ""
    reason = "holds no run (no progress.csv)"
    assert said.err.splitlines() == [
        f"--draw: {run} {reason}" for run in (tmp_path / "nowhere", other)
    ]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("time/iterations,rollout/ep_rew_mean\n1,2\n", "it has no column 'step'"),
        ("step,loss\n1,2\n2,3\n", "it has no column 'rollout/ep_rew_mean'"),
    ],
)
def test_drawing_the_log_of_another_package_says_what_it_lacks(tmp_path, capsys, log, reason):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "progress.csv").write_text(log)
    assert shown(tmp_path, f"x={tmp_path / 'run'}")[0] == 1
    said = capsys.readouterr()
    assert f"progress.csv: not the log of a run: {reason}" in said.out


def test_drawing_a_run_that_has_just_begun_is_one_message(tmp_path, capsys):
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / "params.json").write_text("{}")
    code, logdir = shown(tmp_path, f"x={tmp_path / 'nowhere'}")
    said = capsys.readouterr()
    assert code == 1
    assert "nowhere" in said.out and "| x | 0 of 1 |" in said.out
    assert said.err == "no run has a curve, so nothing is drawn\n"
    assert [path.name for path in logdir.iterdir()] == [LOCK]


def test_a_variant_without_a_curve_is_shown_with_its_runs(tmp_path):
    good, short = logged(tmp_path / "good", 1, 2, 3), logged(tmp_path / "short", 1)
    code, logdir = shown(tmp_path, f"good={good}", f"mixed={good},{short}", f"empty={short}")
    assert code == 0
    table = (logdir / "table.md").read_text()
    assert "| good | 1 | 3.00 |" in table and "up to step 300," in table
    assert "| mixed | 1 of 2 | 3.00 |" in table
    assert "| empty | 0 of 1 | – | – |" in table
    assert f"- {short / 'progress.csv'} has no curve yet" in table
    assert (logdir / "figure.png").stat().st_size > 10_000


def test_a_terminal_gets_the_best_first_in_its_width_and_where_the_files_are(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    low, *high = (logged(tmp_path / str(n), 1, n, n) for n in (5, 70, 90))
    code, logdir = shown(tmp_path, f"low[/b]_{'x' * 30}={low}", f"high={','.join(map(str, high))}")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert code == 0 and max(map(len, lines[:-4])) <= 80
    assert lines[0].split() == list(results.HEAD)
    assert lines[1].split() == ["high", "2", "80.00", "70.00", "90.00", "80.00", "60.25", "0"]
    files = f"table: {logdir / 'table.md'} figure: {logdir / 'figure.png'}"
    assert " ".join(lines).endswith(files)
    table = (logdir / "table.md").read_text()
    head, _, high, low, *_ = table.splitlines()
    assert head == f"| {' | '.join(results.HEAD)} |" and low.startswith("| low[/b]_")
    assert high == f"| {' | '.join(lines[1].split())} |"  # the same cells


def test_the_figure_of_the_working_folder_has_the_folders_name(tmp_path, monkeypatch):
    run, titles = logged(tmp_path / "run", 1, 2), []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results.curves, "draw", lambda *given: titles.append(given[-1]))
    results.write({"one": [run]}, Path())
    assert titles == [tmp_path.name]


def test_a_table_that_cannot_be_shown_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "say", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        results.write({"one": [logged(tmp_path / "one", 1, 2)]}, tmp_path)
    assert "| one | 1 | 2.00 |" in (tmp_path / "table.md").read_text()


def test_runs_without_common_steps_have_a_table_and_a_figure(tmp_path):
    early, late = logged(tmp_path / "early", 1, 2), tmp_path / "late"
    late.mkdir()
    (late / "progress.csv").write_text("step,rollout/ep_rew_mean\n900,1\n1000,2\n")
    code, logdir = shown(tmp_path, f"early={early}", f"late={late}", f"both={early},{late}")
    assert code == 0
    table = (logdir / "table.md").read_text()
    assert "| early | 1 | – |" in table and "the runs have no steps in common" in table
    assert (logdir / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "name", ["$x_{", "$x_{$", "_x", "a|b", "x\ny", "\udc80", "x" * 5000, "游戏"]
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_name_is_drawn(tmp_path, name):
    code, logdir = shown(tmp_path, f"{name}={logged(tmp_path / 'good', 1, 2)}", logdir="$x_{$\n")
    assert code == 0
    head, _, row, *_ = (logdir / "table.md").read_text().splitlines()
    assert head.count("|") == row.replace(r"\|", "").count("|")
    assert (logdir / "figure.png").stat().st_size > 10_000


def test_a_run_that_fails_is_named_and_the_others_are_drawn(tmp_path, pfile, capsys):
    logdir = tmp_path / "sweep"
    saved(logged(logdir / "good" / "seed-0", 1, 2), 512)
    other = logdir / "bad" / "seed-0" / "other"
    other.mkdir(parents=True)
    code = sweep.main([f"--logdir={logdir}", f"--pfile={pfile}", "--variant=bad", "--variant=good"])
    assert code == 1
    said, log = capsys.readouterr(), logdir / "bad" / "seed-0.log"
    assert said.err == f"bad, seed 0: ended with exit code 2; see {log}\n"
    assert "good, seed 0: was done already" in said.out
    assert f"{other.parent} is not empty" in log.read_text()
    table = (logdir / "table.md").read_text()
    assert "| bad | 0 of 1 | – |" in table and "| good | 1 | 2.00 |" in table
    assert (logdir / "figure.png").exists()


def test_a_sweep_whose_folder_was_moved_leaves_the_one_in_its_place_alone(
    tmp_path, pfile, capsys, monkeypatch
):
    logdir, began = tmp_path / "sweep", []

    def go(run: grid.Run, *_: object) -> int:
        began.append(run.name)
        logdir.rename(tmp_path / "moved")
        saved(logged(logdir / "plain" / "seed-1", 1, 2), 512)
        return 0

    monkeypatch.setattr(parallel, "begin_or_resume", go)
    assert sweep.main([f"--logdir={logdir}", f"--pfile={pfile}", "--seeds=0,1"]) == 1
    assert began == ["plain, seed 0"]
    said = capsys.readouterr()
    assert said.err == f"{logdir} was moved or removed; nothing more is saved\n"
    assert [path.name for path in logdir.iterdir()] == ["plain"]


def test_runs_that_are_done_but_have_no_curve_are_no_failure(tmp_path, pfile, capsys):
    saved(tmp_path / "sweep" / "plain" / "seed-0", 512)
    assert sweep.main([f"--logdir={tmp_path / 'sweep'}", f"--pfile={pfile}"]) == 0
    said = capsys.readouterr()
    assert "| plain | 0 of 1 |" in said.out
    assert said.err == "no run has a curve, so nothing is drawn\n"


def test_a_run_that_cannot_begin_is_named_even_without_results(
    tmp_path, pfile, capsys, monkeypatch
):
    logdir = tmp_path / "sweep"
    monkeypatch.setattr(results, "write", Mock(side_effect=OSError(errno.ENOSPC, "full")))
    (logdir / "plain" / "seed-0.log").mkdir(parents=True)
    assert sweep.main([f"--logdir={logdir}", f"--pfile={pfile}"]) == 1
    assert "plain, seed 0: " in capsys.readouterr().err


def test_results_that_cannot_be_written_are_one_message(tmp_path, capsys):
    (tmp_path / "d" / "table.md").mkdir(parents=True)
    code, _ = shown(tmp_path, f"x={logged(tmp_path / 'good', 1, 2)}")
    assert code == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_runs_that_have_begun_continue_with_settings_that_have_no_effect(tmp_path):
    pfile = tmp_path / "mine.json"
    pfile.write_text(json.dumps({"env_id": "CartPole-v1", "network": "mlp", "noop_max": 1}))
    runs = [grid.Run("plain", seed, (f"seed={seed}",), tmp_path / str(seed)) for seed in (1, 2)]
    assert ["noop_max" in fault for fault in grid.setting_faults(pfile, runs)] == [True]
    for run in runs:
        run.folder.mkdir()
        (run.folder / "params.json").write_text(pfile.read_text())
    assert grid.setting_faults(pfile, runs) == []
