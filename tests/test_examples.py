"""The Python example runs as it stands, and the README shows lines of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "train.py"
SHORT = ("total_steps=64", "num_envs=2", "num_steps=16", "num_minibatches=1", "threads=1")
SHORT += ("num_epochs=1", "seed=1", "video_interval=0")
FLAT = ("env_id=CartPole-v1", "network=mlp", "max_frames_per_game=16")
NAMES = re.compile(r'^pfile, logdir, .* = "pong", "runs/mine", (\[.*\])$', re.MULTILINE)


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


@pytest.mark.parametrize(
    ("settings", "num_actions"),
    [(["max_frames_per_game=40"], 6), (FLAT, 2)],
    ids=["pictures", "flat"],
)
def test_example_trains_and_uses_the_policy(settings, num_actions, tmp_path):
    done = run(tmp_path, EXAMPLE, "pong", tmp_path / "run", *SHORT, *settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^step 64: score -?\d", done.stdout, re.MULTILINE)
    shares = re.search(r"of zeros: \[([\d. ]+)\]", done.stdout)
    assert shares
    probabilities = [float(number) for number in shares[1].split()]
    assert len(probabilities) == num_actions and abs(sum(probabilities) - 1) < 0.01


def test_example_without_arguments_says_how_to_call_it(tmp_path):
    done = run(tmp_path, EXAMPLE)
    assert done.returncode == 1 and "PFILE LOGDIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_readme_shows_lines_of_the_example_that_can_be_pasted(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (block,) = (block for block in blocks if "train.run" in block)
    shown = [line for line in block.splitlines() if line and not NAMES.match(line)]
    lines = EXAMPLE.read_text().splitlines()
    assert shown == [line for line in lines if line in shown] and len(shown) > 8
    overrides = [*SHORT, "max_frames_per_game=40"]
    pasted, count = NAMES.subn(lambda found: found[0].replace(found[1], str(overrides)), block)
    done = run(tmp_path, "-c", f"{pasted}\nprint(len(probabilities[0]))")
    assert (done.returncode, done.stderr) == (0, "") and count == 1
    assert done.stdout.splitlines()[-1] == "6"
    assert (tmp_path / "runs" / "mine" / "params.json").exists()
