"""A model card of a run: a page with a metadata header, and a video beside it."""

import json
import math
from pathlib import Path

from ppo.envs.registry import resolve
from ppo.envs.roms import is_rom
from ppo.files.folder import write_whole
from ppo.report.story import Story, commands, story, videos
from ppo.system import reading, tables

CARD, VIDEO = "README.md", "replay.mp4"
LARGEST_VIDEO = 2**30  # bytes


def write(run: Path, folder: Path) -> None:
    """Write a model card and, if the run has a video, the best one beside it, into a folder."""
    of = story(run)
    folder.mkdir(parents=True, exist_ok=True)
    best = next(iter(videos(of)), None)
    if best:
        write_whole(folder / VIDEO, reading.content(best[1], LARGEST_VIDEO))
    write_whole(folder / CARD, _page(of).encode())


def _page(of: Story) -> str:
    video = f"![a game]({VIDEO})\n\n" if videos(of) else ""
    rows = [(f"`{key}`", f"`{json.dumps(value)}`") for key, value in of.differing().items()]
    settings = tables.markdown(["setting", "value"], rows)
    headline = of.headline()
    return (
        f"{_header(of)}\n\n"
        f"# A PPO agent that plays {of.params.env_id}\n\n"
        f"{headline[0].upper()}{headline[1:]}.\n\n{video}"
        f"Trained for {of.step:,} steps (decisions of the agent), seed {of.params.seed}.\n\n"
        f"{settings}\n```\n{commands(of)}\n```\n"
    )


def _header(of: Story) -> str:
    """Return the tags, and the score as a result if there is one."""
    game = of.params.env_id
    tags = ["reinforcement-learning", "ppo", *(["atari"] if is_rom(resolve(game)[0]) else []), game]
    lines = ["---", "library_name: keras", "tags:", *(f"- {tag}" for tag in tags)]
    if not math.isnan(of.mean):
        lines.append(_RESULT.format(game=game, score=of.mean, measure=of.measure))
    return "\n".join([*lines, "---"])


_RESULT = """\
model-index:
- name: PPO
  results:
  - task:
      type: reinforcement-learning
    dataset:
      name: {game}
      type: {game}
    metrics:
    - type: mean_reward
      name: {measure}
      value: {score:.2f}"""
