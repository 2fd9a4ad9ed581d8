"""One precision for all runs of a comparison."""

import json
from pathlib import Path

import pytest

from ppo import resolve
from ppo.params import ParamsError, of_game
from ppo.settings import Params
from ppo.study.alike import alike
from ppo.study.grid import Run, grid


@pytest.fixture(autouse=True)
def computes_in_bfloat16(monkeypatch):
    monkeypatch.setattr(resolve, "processor_has_bfloat16", lambda: True)
    monkeypatch.setattr(resolve, "has_gpu_driver", lambda: False)


def settings(run: Run) -> Params:
    network = "mlp" if "CartPole" in run.variant else "a3c"
    return of_game("PongNoFrameskip-v4", network, run.overrides)


def chosen(runs: list[Run]) -> list[str]:
    return [settings(run).precision for run in alike(runs, settings)]


def begin(run: Run, **told: str) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "params.json").write_text(json.dumps({"network": "a3c"} | told))


def auto(folder: Path, *variants: str) -> list[Run]:
    return grid(folder, [f"{name}:precision=auto" for name in variants or ["x"]], [], [0, 1], 1)


def test_new_runs_have_the_precision_of_this_machine(tmp_path):
    assert chosen(auto(tmp_path)) == ["bfloat16", "bfloat16"]


def test_a_precision_that_is_set_stays(tmp_path):
    assert chosen(grid(tmp_path, [], ["precision=float32,auto"], [0], 1)) == ["float32", "bfloat16"]


def test_runs_that_another_machine_began_are_gone_on_with_in_its_precision(tmp_path):
    runs = auto(tmp_path)
    begin(runs[1], precision="float32")
    assert chosen(runs) == ["float32", "float32"]
    assert chosen(runs[:1]) == ["float32"]


def test_runs_of_two_precisions_are_refused(tmp_path):
    runs = auto(tmp_path, "x", "y")
    begin(runs[0], precision="float32")
    begin(runs[1], precision="bfloat16")
    with pytest.raises(ParamsError, match="have begun in bfloat16 and float32; set it"):
        alike(runs, settings)


def test_runs_of_vectors_keep_float32_and_count_for_no_other(tmp_path):
    runs = auto(tmp_path, "CartPole", "x")
    begin(runs[0], network="mlp", precision="float32")
    assert chosen(runs) == ["auto", "bfloat16", "auto", "bfloat16"]


def test_a_damaged_file_of_a_run_beside_them_counts_for_none(tmp_path):
    runs = auto(tmp_path)
    begin(runs[1], precision="double")
    assert chosen(runs[:1]) == ["bfloat16"]
