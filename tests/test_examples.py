"""The Python example runs as it stands, and the README shows lines of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "train.py"


def test_example_trains_and_uses_the_policy(tmp_path):
    changes = ("total_steps=64", "num_envs=2", "num_steps=16", "num_minibatches=1", "threads=1")
    changes += ("max_frames_per_game=40", "num_epochs=1", "seed=1", "video_interval=0")
    command = [sys.executable, EXAMPLE, ROOT / "example-pong-params.json", tmp_path / "run"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *changes],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^step 64: score -?\d", done.stdout, re.MULTILINE)
    shares = re.search(r"black screen: \[([\d. ]+)\]", done.stdout)
    assert shares
    probabilities = [float(number) for number in shares[1].split()]
    assert len(probabilities) == 6 and abs(sum(probabilities) - 1) < 0.01


def test_readme_shows_the_lines_of_the_example():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    shown = [line for line in block.splitlines() if line]
    lines = EXAMPLE.read_text().splitlines()
    assert shown == [line for line in lines if line in shown] and len(shown) > 8
