"""What to write instead of unknown arguments. Most are settings of some package."""

import difflib
from collections.abc import Sequence

from ppo.params import answer
from ppo.settings import Params
from ppo.settings.other_names import plain
from ppo.system import reading


def unknown_arguments(arguments: Sequence[str], known: Sequence[str]) -> str:
    """Return a line for each argument that starts with --. ``known`` are the existing names."""
    options = [text for text in arguments if text.startswith("--")]
    if not options:
        return f"unrecognized arguments: {' '.join(arguments)}"
    return "\n".join(_unknown(text, known) for text in options)


def _unknown(text: str, known: Sequence[str]) -> str:
    name, _, value = text.removeprefix("--").partition("=")
    if (setting := plain(name)) in Params.model_fields:
        return f"--{name}: write --set {setting}={value or 'VALUE'}"
    if near := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
        return f"--{name}: there is no such argument; did you mean --{near[0]}?"
    try:
        read = reading.parse(value)
    except ValueError:
        read = value
    return f"--{name}: settings are given by --set KEY=VALUE; {answer(name, {name: read})}"
