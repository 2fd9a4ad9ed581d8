"""What a run learnt, in one paragraph."""

import math
from collections.abc import Iterator

from ppo.envs import human
from ppo.envs.registry import is_atari, look_up
from ppo.files import origin
from ppo.report.story import Story
from ppo.system.streams import duration
from ppo.telemetry.scalars import SCORE, TIME


def tale(story: Story) -> str:
    """Return the paragraph: what was learnt in which time, beside others' scores."""
    return " ".join([*_training(story), *_references(story), *_published(story)])


def _training(story: Story) -> Iterator[str]:
    if began_from := origin.read(story.folder):
        yield f"This run continues another one from step {began_from.step:,}."
    scores = [row[SCORE] for row in story.rows if SCORE in row]
    seconds = story.rows[-1].get(TIME, 0.0) if story.rows else 0.0
    if not scores:
        yield f"This agent trains on {story.game} and has not finished a game yet."
        return
    first, last = scores[0], story.mean if math.isfinite(story.mean) else scores[-1]
    frames = f" ({story.step * story.params.frame_skip:,} frames)"
    steps = f"{story.step:,} decisions{frames if is_atari(story.params.env_id) else ''}"
    if last > first:
        yield f"This agent learnt {story.game}{f' in {duration(seconds)}' if seconds else ''}."
        yield f"Its score rose from {first:.1f} to {last:.1f} points in {steps}."
    else:
        yield f"This agent trained on {story.game}{f' for {duration(seconds)}' if seconds else ''}."
        yield f"Its score went from {first:.1f} to {last:.1f} points in {steps}."


def _references(story: Story) -> Iterator[str]:
    known = human.PUBLISHED.get(look_up(story.params.env_id)[0])
    if not known:
        return
    yield f"Random play scores {known[0]:g} points and a human {known[1]:g}."
    rows = [row for row in story.rows if SCORE in row]
    above = next((n for n, row in enumerate(rows) if row[SCORE] >= known[1]), 0)
    if above and TIME in rows[above]:
        yield f"It passed the human after {duration(rows[above][TIME])}."


def _published(story: Story) -> Iterator[str]:
    scores = [(one.package, one.score_at(story.step)) for one in story.published]
    there = [f"{score:.1f} in {name}" for name, score in scores if math.isfinite(score)]
    if there:
        yield f"After as many steps, published PPO runs scored {', '.join(there)}."
