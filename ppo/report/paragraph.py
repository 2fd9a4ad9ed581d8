"""What a run learnt, in one paragraph."""

import math
from collections.abc import Iterator

from ppo.envs import human
from ppo.envs.registry import is_atari, look_up
from ppo.files import origin
from ppo.report.summary import RunSummary
from ppo.system.streams import duration
from ppo.telemetry.scalars import SCORE, TIME


def paragraph(summary: RunSummary) -> str:
    """Return the paragraph: what was learnt in which time, beside others' scores."""
    return " ".join([*_training(summary), *_references(summary), *_published(summary)])


def _training(summary: RunSummary) -> Iterator[str]:
    own_steps, included = summary.step, ""
    if began_from := origin.read(summary.folder):
        own_steps -= began_from.step
        included = ", with the time of the other run included"
        yield f"This run continues another one from step {began_from.step:,}."
    scores = [row[SCORE] for row in summary.rows if SCORE in row]
    if not scores:
        yield f"This agent trains on {summary.game} and has not finished a game yet."
        return
    first, last, seconds = scores[0], scores[-1], summary.rows[-1].get(TIME, 0.0)
    frames = f" ({own_steps * summary.params.frame_skip:,} frames)"
    steps = f"{own_steps:,} decisions{frames if is_atari(summary.params.env_id) else ''}"
    rose = last > first
    time = f" {'in' if rose else 'for'} {duration(seconds)}{included}" if seconds else ""
    yield f"This agent {'learnt' if rose else 'trained on'} {summary.game}{time}."
    course = f"{'rose' if rose else 'went'} from {first:.1f} to {last:.1f} points"
    yield f"Its training score {course} in {steps}."
    if summary.evaluation:
        yield f"An evaluation measured {summary.mean:.1f} points, {summary.measure}."


def _references(summary: RunSummary) -> Iterator[str]:
    known = human.PUBLISHED.get(look_up(summary.params.env_id)[0])
    if not known:
        return
    yield f"Random play scores {known[0]:g} points and a human {known[1]:g}."
    rows = [row for row in summary.rows if SCORE in row]
    above = next((n for n, row in enumerate(rows) if row[SCORE] >= known[1]), 0)
    if above and TIME in rows[above]:
        yield f"It passed the human after {duration(rows[above][TIME])}."


def _published(summary: RunSummary) -> Iterator[str]:
    scores = [(one.package, one.score_at(summary.step)) for one in summary.published]
    there = [f"{score:.1f} in {name}" for name, score in scores if math.isfinite(score)]
    if there:
        yield f"After {summary.step:,} steps, published PPO runs scored {', '.join(there)}."
