"""Pages, docstrings, comments and printed strings read as plain English."""

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("pretrained/*/README.md")]
PAGES = sorted({*PAGES} - {ROOT / "CHANGELOG.md"})
CODE = sorted([*(ROOT / "ppo").rglob("*.py"), ROOT / "run_atari.py"])
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BANNED = re.compile(
    r"\b(told|(that|those) of|stands?(?!-)|stood|(go|goes|went) on|so that|but for|puts? back)\b",
    re.IGNORECASE,
)
BANNED_IN_NAMES = re.compile(rf"{BANNED.pattern}|\b(tells?|fell|pictures?)\b")
MOST_WORDS, MOST_PRINTED_WORDS = 30, 25
NOT_PROSE = r"```.*?```|^ *\|.*?$|\$\$.*?\$\$"


def sentences(text: str, ends: str = ".!?:;") -> list[str]:
    text = re.sub(NOT_PROSE, "\n\n", text, flags=re.DOTALL | re.MULTILINE)
    found = []
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*[-*#] |\s*\d+\. )", text):
        plain = re.sub(r"`[^`]*`", "X", paragraph)
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
        found += re.split(rf"(?<=[{ends}])\s+", " ".join(plain.split()))
    return found


def cells(text: str) -> list[str]:
    """The cells of all tables in a page."""
    rows = re.findall(r"^ *\|.*$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return [cell for row in rows for cell in re.split(r"(?<!\\)\|", row)]


def prose_of(path: Path) -> Iterator[str]:
    """Docstrings and comments."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def printed_by(path: Path) -> Iterator[str]:
    """Strings of several words, such as messages, help and settings' descriptions, not docstrings.
    A value in an f-string is X; blocks of data begin with a new line, lines of code with spaces.
    """
    nodes, others = {*ast.walk(ast.parse(path.read_text()))}, set()
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            others |= {node.body[0].value} if ast.get_docstring(node) else set()
        elif isinstance(node, ast.JoinedStr):
            others |= {*node.values}
    for node in nodes - others:
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        if all(isinstance(part, ast.Constant | ast.FormattedValue) for part in parts):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "X" for part in parts
            )
            if " " in text and not text.startswith("\n"):
                yield re.sub(r"^  .*$", "", inspect.cleandoc(text), flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_have_short_sentences_without_banned_words(page):
    text = page.read_text()
    found = sentences(text) + [one for cell in cells(text) for one in sentences(cell, ".!?")]
    assert not [one for one in found if BANNED.search(one)]
    assert not [one for one in found if len(one.split()) > MOST_WORDS]


def test_docstrings_and_comments_have_no_banned_words():
    found = {
        f"{path.relative_to(ROOT)}: {text}"
        for path in CODE + TESTS
        for text in prose_of(path)
        if BANNED.search(re.sub(r"`[^`]*`", "", text))
    }
    assert not found


def test_printed_strings_have_short_sentences_without_banned_words():
    strings = {text for path in CODE for text in printed_by(path)}
    assert not [text for text in strings if BANNED.search(re.sub(r"`[^`]*`", "", text))]
    found = [one for text in strings for one in sentences(text)]
    assert not [one for one in found if len(one.split()) > MOST_PRINTED_WORDS]


def test_names_of_tests_have_no_banned_words():
    names = {name for path in TESTS for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert not [name for name in names if BANNED_IN_NAMES.search(name.replace("_", " "))]


def test_banned_words_and_long_sentences_are_found():
    assert BANNED.search("It stands below those of all workers.")
    assert BANNED_IN_NAMES.search("a run goes on")
    assert sentences("One. Two `a. b`\n\n- three: four") == ["One.", "Two X", "- three:", "four"]
    assert cells("prose\n| a \\| b | c |") == ["", " a \\| b ", " c ", ""]
