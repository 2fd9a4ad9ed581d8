"""A report of one or more runs: one HTML file that needs no network."""

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ppo.autopsy.explain import explain
from ppo.errors import PPOError
from ppo.evaluate.film import FILM, film
from ppo.files import evaluations
from ppo.files.atomic import write_whole
from ppo.report.published import plot
from ppo.report.summary import RunSummary, commands, names, paragraph, read_summary, videos
from ppo.system import reading
from ppo.telemetry import curves, figures
from ppo.telemetry.health import ignored
from ppo.telemetry.scalars import SCORE, metric_of

REPORT = "report.html"
LAST = 20  # log entries in the health table
LARGEST_VIDEO = 24 * 2**20  # bytes of a video inside the page
WIDTH, HEIGHT = 6.5, 3.8  # of the figure, in inches; a phone shows it at half the size


def write(runs: Sequence[Path], path: Path) -> None:
    """Write the report of the runs, whole or not at all, and the films of their training that can
    be made. A run that is given twice is shown once. Raises OSError and the errors of
    ``read_summary``.
    """
    runs = list({os.path.realpath(run): run for run in runs}.values())
    summaries = [read_summary(run) for run in runs]  # before the films, which take minutes
    for run in runs:
        with suppress(PPOError):
            film(run, again=False)
    title = " and ".join(dict.fromkeys(summary.game for summary in summaries))
    called = names(summaries)
    headlines = called if len(summaries) > 1 else [""]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        *map(_headline, summaries, headlines),
        _figure(summaries, called),
        *map(_run, summaries, called),
    ]
    write_whole(path, _PAGE.format(title=html.escape(title), body="\n".join(parts)).encode())


def _run(summary: RunSummary, name: str) -> str:
    repeat = f"<pre>{html.escape(commands(summary))}</pre><p>{html.escape(summary.limit)}</p>"
    health = explain(summary.folder.path)
    sections = [
        ("The training and its games", _players(summary)),
        ("Evaluations", _evaluation_table(summary)),
        ("What others published", _published_table(summary)),
        ("Health", f"<pre>{html.escape(health)}</pre>{_health_table(summary)}"),
        ("Settings that differ from the defaults", _settings_table(summary)),
        ("Repeat it", repeat),
        ("Versions and machine", _table(["what", "version"], summary.state.versions.items())),
    ]
    body = "\n".join(f"<h3>{title}</h3>{content}" for title, content in sections if content)
    return (
        f"<section><h2>The run {html.escape(name)}</h2><p>{html.escape(summary.params.env_id)}, "
        f"{summary.step:,} of {summary.params.end_from(summary.step):,} steps, "
        f"seed {summary.params.seed}</p>"
        f"{body}</section>"
    )


def _headline(summary: RunSummary, name: str) -> str:
    before = f"{name}: " if name else ""
    hint = f"<p>{html.escape(summary.hint)}</p>" if summary.hint else ""
    score = f"<p class='score'>{html.escape(before + summary.headline())}</p>"
    return f"{score}<p>{html.escape(paragraph(summary))}</p>{hint}"


def _figure(summaries: Sequence[RunSummary], called: Sequence[str]) -> str:
    """Draw the learning curves with the evaluations, as SVG inside the page."""
    published = summaries[0].published
    if any(summary.published != published for summary in summaries):  # of different games
        published = []
    with figures.figure(WIDTH, HEIGHT) as (empty, save):
        axes: Any = empty.subplots()
        ends = []
        for summary, (name, look) in zip(summaries, figures.looks(called).items(), strict=True):
            curve = [(row["step"], row[SCORE]) for row in summary.rows if SCORE in row]
            if curve:
                axes.plot(*np.transpose(curve), **look)
                ends.append(figures.End(name, *curve[-1], look["color"]))
            if summary.evaluations:
                keys, every = ("step", "mean", "low", "high"), summary.evaluations
                at, mean, low, high = np.array([[one[key] for key in keys] for one in every]).T
                bars = np.maximum([mean - low, high - mean], 0)
                axes.errorbar(at, mean, bars, fmt="o", capsize=3, color=look["color"], alpha=0.8)
        ends += plot(axes, published, max(summary.step for summary in summaries))
        axes.set(xlabel="steps", ylabel=curves.SCORE_LABEL)
        figures.count_steps(axes)
        if len(ends) > 1:
            figures.name_ends(axes, ends)
        svg = save("svg").decode()
    caption = "Line: last 100 games of training. Points: evaluations with 95 percent intervals."
    if published:
        sources = "; ".join(f"{one.package}: {one.what}, {one.source}" for one in published)
        caption += f" Gray: what others published. {html.escape(sources)}."
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{caption}</figcaption></figure>"


def _published_table(summary: RunSummary) -> str:
    rows = [
        (one.package, f"{score:.1f}", one.what)
        for one in summary.published
        if not np.isnan(score := one.score_at(summary.step))
    ]
    return _table(["package", f"score after {summary.step:,} steps", "measure"], rows)


def _players(summary: RunSummary) -> str:
    parts = []
    for caption, path in videos(summary):
        caption = html.escape(caption)
        if path.stat().st_size > LARGEST_VIDEO:
            parts.append(f"<p>{caption}: {html.escape(str(path))} (too large for this page)</p>")
            continue
        data = base64.b64encode(reading.content(path)).decode()
        size = "film" if path.name == FILM else "video"
        parts.append(
            f"<figure class='{size}'><video controls loop muted playsinline "
            f"src='data:video/mp4;base64,{data}'></video><figcaption>{caption}</figcaption></figure>"
        )
    return "".join(parts)


def _evaluation_table(summary: RunSummary) -> str:
    rows = []
    for one in summary.evaluations:
        games, interval = str(len(one["scores"])), evaluations.interval(one) or "-"
        rows.append((f"{one['step']:,}", one["policy"], games, f"{one['mean']:.2f}", interval))
    return _table(["step", "policy", "games", "mean", "95 percent interval"], rows)


def _health_table(summary: RunSummary) -> str:
    rows = []
    last = summary.rows[-LAST:]
    unknown = ignored(summary.params)
    for tag in dict.fromkeys(tag for row in last for tag in row):
        metric = metric_of(tag)
        if not metric.limits or tag in unknown:
            continue
        median = float(np.median([row[tag] for row in last if tag in row]))
        advice = metric.remedy if metric.outside(median) else "ok"
        rows.append((tag, f"{median:.3g}", metric.limits, advice))
    return _table(["scalar", f"median of {len(last)} entries", "healthy", ""], rows)


def _settings_table(summary: RunSummary) -> str:
    rows = [
        (key, json.dumps(value), json.dumps(default))
        for key, (default, value) in summary.differing().items()
    ]
    return _table(["setting", "here", f"default for {summary.params.env_id}"], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    # A phone may break names after a slash or an underscore.
    inner = ([re.sub("[/_]", r"\g<0><wbr>", html.escape(cell)) for cell in row] for row in rows)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in inner)
    if not body:
        return ""
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    return f"<table><tr>{cells}</tr>{body}</table>"


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
figure svg {{ width: 100%; max-width: 42rem; height: auto; }}
figcaption {{ color: #57606a; font-size: .875rem; }}
.video {{ display: inline-block; margin-right: 1rem; vertical-align: top; max-width: 100%; }}
video {{ width: 26rem; max-width: 100%; }}
.film video {{ width: 46rem; }}
table {{ border-collapse: collapse; font-size: .9rem; }}
th, td {{ text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #eaeef2;
  vertical-align: top; }}
@media (max-width: 40rem) {{ table {{ font-size: .8rem; }} td, th {{ padding-right: .5rem; }} }}
pre {{ background: #f6f8fa; padding: .75rem 1rem; overflow-x: auto; font-size: .85rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }}
@media print {{ body {{ max-width: none; margin: 0; font-size: 11pt; }} video {{ display: none; }}
  h2 {{ break-before: page; }} section:first-of-type h2 {{ break-before: auto; }}
  tr, figure, pre {{ break-inside: avoid; }} }}
</style></head><body>
{body}
</body></html>
"""
