"""The example and the Python of the pages run as they are, also in a notebook."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "train.py"
SHORT = ("total_steps=64", "num_envs=2", "num_steps=16", "num_minibatches=1", "threads=1")
SHORT += ("num_epochs=1", "seed=1", "video_interval=0", "max_frames_per_game=40")


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python as a user has it: no variable that the package sets is there already."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def blocks(page: str) -> list[str]:
    """A page's Python that uses the package, with short runs."""
    sizes = ", ".join(f'"{key}": {value}' for key, value in (text.split("=") for text in SHORT))
    found = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [re.sub(r'"total_steps": [\d_]+', sizes, block) for block in found if "ppo." in block]


def check_what_the_example_printed(printed: str) -> None:
    assert re.search(r"^step 64: mean score -?\d.*, in .*/run$", printed, re.MULTILINE)
    assert re.search(r"^the agent's mean of 3 games: -?\d", printed, re.MULTILINE)


def test_example_trains_and_lets_the_agent_play(tmp_path):
    done = run(tmp_path, EXAMPLE, "PongNoFrameskip-v4", tmp_path / "run", *SHORT)
    assert (done.returncode, done.stderr) == (0, "")
    check_what_the_example_printed(done.stdout)


def test_example_takes_any_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "CartPole-v1", str(tmp_path / "run"), *SHORT])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    check_what_the_example_printed(capsys.readouterr().out)


def test_example_without_arguments_says_how_to_call_it(tmp_path):
    done = run(tmp_path, EXAMPLE)
    assert done.returncode == 1 and done.stderr.startswith("usage: python examples/train.py ENV")
    assert "Traceback" not in done.stderr


def test_example_answers_a_wrong_argument_in_one_line(tmp_path):
    done = run(tmp_path, EXAMPLE, "CartPole-v1", tmp_path / "run", "fast")
    said = "fast: write a setting as KEY=VALUE, such as total_steps=100000\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert not (tmp_path / "run").exists()


def test_python_of_the_pages_can_be_pasted(tmp_path):
    pasted = "\n".join([*blocks("README.md"), *blocks("docs/python.md")])
    done = run(tmp_path, "-c", f"{pasted}\nprint(action)")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"[0-5]", done.stdout.splitlines()[-1])
    assert {path.name for path in (tmp_path / "runs").iterdir()} >= {"python", "program", "own"}


def test_python_of_the_readme_runs_in_a_notebook(tmp_path, monkeypatch):
    pytest.importorskip("ipykernel")
    nbclient, nbformat = map(pytest.importorskip, ("nbclient", "nbformat"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (block,) = blocks("README.md")
    cells = map(nbformat.v4.new_code_cell, [*block.split("\n\n"), "print(action)"])
    notebook = nbformat.v4.new_notebook(cells=list(cells))
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert outputs[-1].text.strip() in ("0", "1")
