"""A model card of a run: a page with a metadata header, the network, and a game beside it."""

import json
import math
from pathlib import Path

from ppo.envs.registry import is_atari, observation_shape, resolved
from ppo.errors import PPOError
from ppo.evaluate.export import export_run
from ppo.evaluate.film import FILM
from ppo.files.atomic import write_whole
from ppo.files.video import gif_of_end
from ppo.report.summary import RunSummary, commands, paragraph, read_summary, videos
from ppo.system import reading, tables
from ppo.system.streams import say, warn

CARD, VIDEO, GIF, NETWORK = "README.md", "replay.mp4", "replay.gif", "agent.keras"
GIF_SECONDS = 8
LARGEST_VIDEO = 2**30  # bytes


def write(run: Path, folder: Path) -> None:
    """Write a model card into a folder, with the network and the best video of a game if the run
    has them. If the network cannot be written, say why. Raises the errors of ``read_summary``.
    """
    summary = read_summary(run)
    folder.mkdir(parents=True, exist_ok=True)
    best = next((path for _, path in videos(summary) if path.name != FILM), None)
    if best:
        write_whole(folder / VIDEO, reading.content(best, LARGEST_VIDEO))
        gif_of_end(folder / VIDEO, folder / GIF, GIF_SECONDS)
    has_network = summary.saved is not None
    if has_network:
        say("exporting the network for the model card ...")
        try:
            export_run(run, str(folder / NETWORK), replace=True)
        except PPOError as error:
            (folder / NETWORK).unlink(missing_ok=True)  # of an earlier report
            warn(f"the model card has no network: {error}")
            has_network = False
    write_whole(folder / CARD, _page(summary, bool(best), has_network).encode())


def _page(summary: RunSummary, has_video: bool, has_network: bool) -> str:
    video = f"![The end of a game]({GIF})\n\nThe whole game: [{VIDEO}]({VIDEO}).\n\n" * has_video
    differing = summary.differing().items()
    rows = [(f"`{key}`", f"`{json.dumps(value)}`") for key, (_, value) in differing]
    settings = tables.markdown(["setting", "value"], rows)
    headline, params, usage = summary.headline(), summary.params, ""
    if has_network:
        shape = observation_shape(resolved(params))
        usage = _USAGE.format(
            network=NETWORK,
            shape=", ".join(map(str, shape)),
            kind="uint8" if len(shape) == 3 else "float32",
            frames=", the newest frame last" if is_atari(params.env_id) else "",
        )
    tags = ["reinforcement-learning", "ppo", *["atari"] * is_atari(params.env_id), params.env_id]
    header = ["---", "library_name: keras", "tags:", *(f"- {tag}" for tag in tags)]
    if not math.isnan(summary.mean):
        measured = {"score": summary.mean, "measure": summary.measure}
        header.append(_RESULT.format(game=params.env_id, **measured))
    top = "\n".join([*header, "---"])
    return (
        f"{top}\n\n# A PPO agent that plays {summary.game}\n\n"
        f"{paragraph(summary)}\n\n{video}"
        f"## Score\n\n{headline[0].upper()}{headline[1:]}. "
        f"The game is `{params.env_id}`.\n\n{usage}"
        f"## Training\n\n{summary.step:,} steps (decisions of the agent), seed {params.seed}. "
        f"Settings that differ from the defaults:\n\n{settings}\n"
        f"The same training and evaluation again:\n\n```\n{commands(summary)}\n```\n\n"
        f"{summary.limit}\n"
    )


_USAGE = """\
## Use

`{network}` needs Keras alone. It takes observations of {kind} [n, {shape}]{frames}:

```python
import keras
import numpy as np

network = keras.models.load_model("{network}")
observations = np.zeros((1, {shape}), np.{kind})
action = int(np.argmax(network(observations)["logits"][0]))
```

"""
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
