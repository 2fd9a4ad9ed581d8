"""The trained agent that comes along: whose it is, its size, and that it still wins."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from ppo import params
from ppo.evaluate.games import evaluate_run
from ppo.files.folder import RunFolder
from ppo.report import card
from ppo.settings import CHOSEN_AT_START

ROOT = Path(__file__).resolve().parent.parent
PONG = RunFolder(ROOT / "pretrained" / "pong")


def test_its_settings_match_the_example_file():
    example, its = params.load(ROOT / "example-pong-params.json"), params.load(PONG.params)
    # What was drawn or chosen for it.
    named = {*type(example).model_fields} - {*CHOSEN_AT_START}
    named -= {"fire_on_life_loss"}  # in Pong there are no lives
    assert {key: getattr(its, key) for key in named} == {k: getattr(example, k) for k in named}


def test_it_is_one_small_checkpoint_of_the_last_step():
    (path,) = PONG.checkpoints.iterdir()
    assert path.name == f"step-{params.load(PONG.params).whole_steps:012d}.ckpt"
    assert path.stat().st_size < 10_000_000


def test_its_evaluation_is_there():
    last = json.loads((PONG.path / "measured.jsonl").read_text().splitlines()[-1])
    assert last["step"] == params.load(PONG.params).whole_steps
    assert len(last["scores"]) == 30


def test_its_report_is_ignored_by_git():
    made = ["pretrained/pong/report.html", "pretrained/pong/card/README.md"]
    shown = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout.split() == made


def test_its_card_has_the_network_and_the_lines_that_load_it(tmp_path, monkeypatch):
    shutil.copytree(PONG.path, tmp_path / "pong")
    card.write(tmp_path / "pong", tmp_path / "card")
    page = (tmp_path / "card" / "README.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path / "card")
    done: dict[str, object] = {}
    exec(lines, done)
    assert done["action"] in range(6)


def test_it_wins(tmp_path):
    shutil.copytree(PONG.path, tmp_path / "pong")
    (evaluation,) = evaluate_run(tmp_path / "pong", 2, ["sampled"])
    assert evaluation.mean > 15
