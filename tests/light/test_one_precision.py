"""One precision for all runs of a comparison."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ppo.params import load
from ppo.settings import Params
from ppo.sweep.grid import Run, parse
from ppo.sweep.one_precision import precisions, unify_precision

pytestmark = pytest.mark.usefixtures("computes_in_bfloat16")


def settings(run: Run) -> Params:
    network = "mlp" if "CartPole" in run.variant else "a3c"
    return load({"network": network}, run.overrides)


def chosen(runs: list[Run], gpu: bool = False) -> list[str]:
    faults: list[str] = []
    of_all = [settings(run).precision for run in unify_precision(runs, settings, faults, gpu)]
    assert not faults
    return of_all


def begin(run: Run, **words: str) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "params.json").write_text(json.dumps({"network": "a3c"} | words))


def auto(folder: Path, *variants: str) -> list[Run]:
    texts = [f"{name}:precision=auto" for name in variants or ["x"]]
    return parse(texts).runs(folder, [0, 1], 1)


def test_new_runs_have_the_precision_of_this_machine(tmp_path):
    assert chosen(auto(tmp_path)) == ["bfloat16", "bfloat16"]


def test_a_precision_that_is_set_stays(tmp_path):
    runs = parse([], ["precision=float32,auto"]).runs(tmp_path, [0], 1)
    assert chosen(runs) == ["float32", "bfloat16"]


def test_runs_that_another_machine_began_are_gone_on_with_in_its_precision(tmp_path):
    runs = auto(tmp_path)
    begin(runs[1], precision="float32")
    assert chosen(runs) == ["float32", "float32"]
    assert chosen(runs[:1]) == ["float32"]


def test_runs_of_two_precisions_are_refused(tmp_path):
    runs = auto(tmp_path, "x", "y")
    begin(runs[0], precision="float32")
    begin(runs[1], precision="bfloat16")
    faults: list[str] = []
    unify_precision(runs, settings, faults)
    (fault,) = faults
    began = f"begun in bfloat16 {runs[1].folder}; in float32 {runs[0].folder}; move"
    assert began in fault


def test_runs_on_gpus_have_float32_whatever_the_processor_here_does(tmp_path):
    assert chosen(auto(tmp_path), gpu=True) == ["float32", "float32"]


def test_runs_of_vectors_keep_float32_and_count_for_no_other(tmp_path):
    runs = auto(tmp_path, "CartPole", "x")
    begin(runs[0], network="mlp", precision="float32")
    assert chosen(runs) == ["auto", "bfloat16", "auto", "bfloat16"]


def test_a_damaged_run_and_a_copy_beside_them_count_for_none(tmp_path):
    first, second = auto(tmp_path)
    begin(replace(first, folder=first.folder.with_name("seed-0-before")), precision="float32")
    begin(second, precision="double")
    assert chosen([first]) == ["bfloat16"]


def test_results_say_what_the_runs_compute_in(tmp_path):
    first, second = auto(tmp_path)
    begin(first, precision="float32")
    both = [first.folder, second.folder]
    assert precisions({"x": both}) == "All runs compute in float32."
    assert precisions({"x": [second.folder]}) == ""
    begin(second, precision="bfloat16")
    words = precisions({"x": both, "y": [first.folder]})
    assert words == "Precision: x bfloat16 and float32; y float32."


def test_no_precision_is_named_for_a_network_that_chooses_its_own(tmp_path):
    (run, _) = auto(tmp_path)
    begin(run, network="tests.own_network:pictures", precision="float32")
    assert precisions({"x": [run.folder]}) == ""
