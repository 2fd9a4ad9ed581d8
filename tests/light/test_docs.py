"""The pages say what the code says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import games_store
from docs import drawings, generate, pages
from ppo import params
from ppo.settings import Params, other_names
from ppo.telemetry.collapse import SMALLEST_FALL
from ppo.telemetry.counters import KL_FACTOR, LEAST_KL_SHARE, MOST_ROLLBACKS, SHARE_LEFT

ROOT = Path(__file__).resolve().parents[2]
CODE = r"(?:ppo|tests|benchmarks)/[\w/]+\.py"  # a file that a page names
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part == "runs" for part in path.relative_to(ROOT).parts)
)


@pytest.mark.parametrize("name", generate.pages())
def test_generated_page_is_up_to_date(name):
    assert (ROOT / "docs" / name).read_text() == generate.pages()[name], (
        "run: python -m docs.generate"
    )


def test_the_results_have_the_runs_of_either_precision(monkeypatch):
    before = pages.results()
    stored = games_store.load(ROOT / "docs/games.jsonl")
    float32 = [replace(run, precision="float32") for run in stored]
    monkeypatch.setattr(games_store, "load", lambda path: float32)
    assert pages.results() == before


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_fit_the_width_except_in_tables(page):
    assert not [
        line for line in page.read_text().splitlines() if len(line) > 120 and line[0] != "|"
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_sections_lead_somewhere(page):
    links = re.findall(r"\]\(([\w/.-]*)#([^)\s]+)\)", page.read_text())
    assert not [link for link in links if link[1] not in sections(page.parent / link[0], page)]


def sections(path: Path, page: Path) -> set[str]:
    """The names by which links call the headings of a page; of ``page`` for a folder."""
    text = re.sub(r"```.*?```", "", (page if path.is_dir() else path).read_text(), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_forks_of_the_quick_start_train_on():
    """The quick start's run is done, so a fork of it needs more steps."""
    done = params.load("pong").total_steps
    for page in ("README.md", "docs/runs.md"):
        (line,) = re.findall("run_atari.* --fork=runs/pong .*", (ROOT / page).read_text())
        assert int(line.split("total_steps=")[1]) > done


def test_example_file_is_sound_and_wins_no_trick():
    example = params.load(ROOT / "example-pong-params.json")
    assert example.env_id == "PongNoFrameskip-v4"
    assert not example.full_action_space
    assert example.clip_rewards is None  # so they are clipped, in an Atari game


def test_figures_of_results_can_be_drawn(tmp_path):
    drawings.draw(tmp_path)
    drawn = {path.name for path in tmp_path.iterdir() if path.stat().st_size > 10_000}
    of_forks = {f"collapse-{name}.png" for name in ("map", "remedies", "scratch")}
    assert drawn == {"pong-curve.png", *of_forks, *drawings.COLLAPSES}


def test_surrogate_figures_can_be_drawn(tmp_path):
    generate.surrogates(tmp_path / "figure.png", gradient=True)
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_places_in_the_code_that_a_page_names_are_there(page):
    text = page.read_text()
    if page.name == "CHANGELOG.md":  # which names files as they were
        return
    files = re.findall(rf"`({CODE})", text)
    assert not [file for file in files if not (ROOT / file).is_file()]
    for file, name in re.findall(rf"`({CODE}):\s+([\w.]+)`", text):
        code = (ROOT / file).read_text()
        for part in name.split("."):
            assert definition_of(part).search(code), f"{file}: {name}"


def definition_of(name: str) -> re.Pattern:
    """A pattern for a function, a class, a field, or a constant, alone or among others."""
    return re.compile(
        rf"\b(def|class) {name}\b|^ *{name}: |^(\w+, )*{name}(, \w+)* = ", re.MULTILINE
    )


def test_a_use_is_no_definition():
    assert definition_of("LEAST").search("FACTOR, LEAST = 1.5, 1e-3")
    assert definition_of("clip").search("def clip(x):") and definition_of("x").search("    x: int")
    assert not definition_of("clip").search("y = clip(x)\nif clip == 1: pass  # clip")


def test_meanings_of_settings_have_the_numbers_of_the_code():
    """A meaning is plain text, so it repeats these numbers."""
    rate, guard = (
        Params.model_fields[key].description for key in ("learning_rate_kl", "collapse_guard")
    )
    assert rate.count(f"by {KL_FACTOR:g} after") == 2
    assert "a loss of a quarter" in guard and SMALLEST_FALL == 1 / 4
    assert "an eighth" in guard and SHARE_LEFT == 1 / 8
    assert "at most three times" in guard and MOST_ROLLBACKS == 3
    least = other_names.hint("lr_adaptive_min", {"lr_adaptive_min": 1e-6})
    assert "at least a thousandth" in least and LEAST_KL_SHARE == 1e-3


def test_index_lists_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {*re.findall(r"\]\(([\w-]+\.md)\)", index)} == pages


def test_pages_name_many_places_in_the_code():
    text = (ROOT / "docs" / "algorithm.md").read_text()
    assert len(re.findall(rf"`({CODE}):\s+([\w.]+)`", text)) > 30
