"""A report of one or more runs: one HTML file that needs no network."""

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ppo.files.folder import write_whole
from ppo.report.published import Published, comparable
from ppo.report.story import Story, commands, names, story, videos
from ppo.settings import Params
from ppo.system import reading
from ppo.telemetry import figures
from ppo.telemetry.scalars import SCORE, metric_of

REPORT = "report.html"
LAST = 20  # log entries in the health table
_STYLES = ("-", "--", ":")  # of the published curves
LARGEST_VIDEO = 12 * 2**20  # bytes of a video inside the page


def write(runs: Sequence[Path], path: Path) -> None:
    """Write the report of the runs, whole or not at all. Raises OSError and the errors of
    ``story``.
    """
    stories = [story(run) for run in runs]
    title = " and ".join(dict.fromkeys(of.params.env_id for of in stories))
    called = names(stories)
    headlines = called if len(stories) > 1 else [""]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        *map(_headline, stories, headlines),
        _figure(stories, called),
        *map(_run, stories, called),
    ]
    write_whole(path, _PAGE.format(title=html.escape(title), body="\n".join(parts)).encode())


def _run(of: Story, name: str) -> str:
    sections = [
        ("Games", _players(of)),
        ("Evaluations", _evaluation_table(of)),
        ("What others published", _published_table(of)),
        ("Health", f"<pre>{html.escape(of.explanation)}</pre>{_health_table(of)}"),
        ("Settings that differ from the defaults", _settings_table(of)),
        ("Repeat it", f"<pre>{html.escape(commands(of))}</pre>"),
        ("Versions and machine", _table(["what", "version"], of.versions.items())),
    ]
    body = "\n".join(f"<h3>{title}</h3>{content}" for title, content in sections if content)
    return (
        f"<section><h2>{html.escape(name)}</h2><p>{of.step:,} steps of "
        f"{of.params.total_steps:,}, seed {of.params.seed}</p>{body}</section>"
    )


def _headline(of: Story, name: str) -> str:
    before = f"{name}: " if name else ""
    hint = f"<p>{html.escape(of.hint)}</p>" if of.hint else ""
    return f"<p class='score'>{html.escape(before + of.headline())}</p>{hint}"


def _figure(stories: Sequence[Story], called: Sequence[str]) -> str:
    """Draw the learning curves with the evaluations, as SVG inside the page."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"svg.hashsalt": "ppo", "font.size": 11}):
        figure, axes = pyplot.subplots(figsize=(9, 4.2), layout="constrained")
        lines = {}
        for of, name in zip(stories, called, strict=True):
            curve = [(row["step"], row[SCORE]) for row in of.rows if SCORE in row]
            steps, scores = np.array(curve, float).reshape(-1, 2).T
            (lines[name],) = axes.plot(steps, scores, linewidth=1.6)
            means = np.array([[e["step"], e["mean"], e["low"], e["high"]] for e in of.evaluations])
            if len(means):
                at, mean, low, high = means.T
                color = lines[name].get_color()
                bars = np.maximum([mean - low, high - mean], 0)
                axes.errorbar(at, mean, bars, fmt="o", capsize=3, color=color, alpha=0.8)
        published = _published(stories)
        end = max((of.step for of in stories), default=0)
        for one, style in zip(published, _STYLES, strict=False):
            near = np.array([point for point in one.curve if point[0] <= end], float)
            if len(near) > 1:
                (lines[one.package],) = axes.plot(*near.T, style, color="gray", linewidth=1)
        axes.set(xlabel="steps", ylabel="score, mean of the last 100 games")
        axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        axes.grid(alpha=0.3)
        if len(lines) > 1:
            figures.named(axes, lines)
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
        pyplot.close(figure)
    svg = content.getvalue()
    caption = (
        "Line: last 100 games of the training. Points: evaluations, with 95 percent intervals."
    )
    if published:
        sources = "; ".join(f"{one.package}: {one.what}, {one.source}" for one in published)
        caption += f" Gray: what others published. {html.escape(sources)}."
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{caption}</figcaption></figure>"


def _published(stories: Sequence[Story]) -> list[Published]:
    """Return the published curves of the game, if it is the same in all runs."""
    found = [comparable(of.params) for of in stories]
    return found[0] if all(one == found[0] for one in found) else []


def _published_table(of: Story) -> str:
    rows = [
        (one.package, f"{score:.1f}", one.what)
        for one in comparable(of.params)
        if not np.isnan(score := one.score_at(of.step))
    ]
    return _table(["package", f"score after {of.step:,} steps", "measure"], rows)


def _players(of: Story) -> str:
    parts = []
    for caption, path in videos(of):
        caption = html.escape(caption)
        if path.stat().st_size > LARGEST_VIDEO:
            parts.append(f"<p>{caption}: {html.escape(str(path))} (too large for this page)</p>")
            continue
        data = base64.b64encode(reading.content(path)).decode()
        parts.append(
            f"<figure class='video'><video controls loop muted playsinline "
            f"src='data:video/mp4;base64,{data}'></video><figcaption>{caption}</figcaption></figure>"
        )
    return "".join(parts)


def _evaluation_table(of: Story) -> str:
    rows = [
        (
            f"{one['step']:,}",
            one["policy"],
            str(len(one["scores"])),
            f"{one['mean']:.2f}",
            f"{one['low']:.2f} to {one['high']:.2f}",
        )
        for one in of.evaluations
    ]
    return _table(["step", "policy", "games", "mean", "95 percent interval"], rows)


def _health_table(of: Story) -> str:
    rows = []
    last = of.rows[-LAST:]
    for tag in dict.fromkeys(tag for row in last for tag in row):
        metric = metric_of(tag)
        if metric is None or not metric.limits:
            continue
        median = float(np.median([row[tag] for row in last if tag in row]))
        told = metric.remedy if metric.outside(median) else "ok"
        rows.append((tag, f"{median:.3g}", metric.limits, told))
    return _table(["scalar", f"median of {len(last)} entries", "healthy", ""], rows)


def _settings_table(of: Story) -> str:
    rows = [
        (key, json.dumps(value), json.dumps(Params.model_fields[key].default))
        for key, value in of.differing().items()
    ]
    return _table(["setting", "here", "default"], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    if not body:
        return ""
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    return f"<div class='wide'><table><tr>{cells}</tr>{body}</table></div>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.9rem; margin: 0 0 1rem; }}
h2 {{ border-top: 1px solid #d0d7de; padding-top: 1.5rem; margin: 2.5rem 0 0; }}
h3 {{ margin: 2rem 0 .5rem; font-size: 1.05rem; }}
.score {{ font-size: 1.25rem; font-weight: 600; }}
figure {{ margin: 0 0 1rem; }}
figure svg {{ width: 100%; height: auto; }}
figcaption {{ color: #57606a; font-size: .875rem; }}
.video {{ display: inline-block; margin-right: 1rem; vertical-align: top; max-width: 100%; }}
video {{ width: 320px; max-width: 100%; image-rendering: pixelated; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .9rem; }}
th, td {{ text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #eaeef2;
  vertical-align: top; }}
pre {{ background: #f6f8fa; padding: .75rem 1rem; overflow-x: auto; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }}
@media print {{ body {{ max-width: none; margin: 0; font-size: 11pt; }} video {{ display: none; }}
  h2 {{ break-before: page; }} section:first-of-type h2 {{ break-before: auto; }}
  tr, figure, pre {{ break-inside: avoid; }} }}
</style></head><body>
{body}
</body></html>
"""
