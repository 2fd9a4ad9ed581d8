"""A run's log in words: whether and when the policy collapsed, and what came first."""

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ppo.autopsy import signs
from ppo.autopsy.signs import BEFORE, Cause, Distance
from ppo.files import origin
from ppo.files.folder import RunFolder
from ppo.params import ParamsError, load_run
from ppo.settings.fields import RunSettings
from ppo.telemetry import collapse, health, progress
from ppo.telemetry.collapse import Collapse
from ppo.telemetry.progress import Row

EARLIER = 20  # entries before a collapse that are searched for its cause
RECENT = 50  # last entries, searched if no sign is near a collapse; earlier ones did no harm


def explain(run: Path) -> str:
    """Return the explanation of a run. Raises FolderError."""
    log = progress.history(run)
    rows = [row for row in log if math.isfinite(progress.points(row))]
    if len(rows) < BEFORE:
        return f"{run}: {len(rows)} log entries with a score, too few to say anything\n"
    points = [progress.points(row) for row in rows]
    worst = collapse.find(points)
    lines, at = [_what(run, rows, points, worst)], ""
    near: dict[str, Distance] = {}
    if worst:  # what left its band first before the collapse, or else during it
        near = signs.first(rows, max(BEFORE, worst.onset - EARLIER), worst.onset + 2)
        near = near or signs.first(rows, worst.onset, worst.bottom + 1)
    departed = near or signs.first(rows, max(BEFORE, len(rows) - RECENT))
    if departed and not near and signs.cause(rows, departed) is signs.UNKNOWN:
        departed = {}
    if departed:
        index = next(iter(departed.values())).index
        # Without --at, an autopsy forks before the deepest collapse.
        at = "" if near else f" --at={int(rows[index - 1]['step'])}"
        lines += _signs(rows[index], departed)
        cause = signs.cause(rows, departed)
        lines += [f"a sign of: {cause.name}", f"what to do: {cause.remedy}"]
        lines += _later(rows, index, cause)
    elif worst:
        lines.append("no scalar left its usual range before it or during it")
    if began_from := origin.read(RunFolder(run)):  # what a fork changed may be the cause itself
        changed = ", ".join(
            f"{key} from {old} to {new}"
            for key, (old, new) in began_from.changes.items()
            if key == "seed" or key not in RunSettings.model_fields
        )
        lines.append(f"forked at step {began_from.step:,}, with {changed or 'nothing changed'}")
    if worst or departed:
        lines.append(f"what shows the cause: python -m ppo.autopsy {shlex.quote(str(run))}{at}")
    # What is outside the glossary's healthy range in the last entries.
    watch = health.Health()
    with suppress(ParamsError):
        watch = health.Health(load_run(RunFolder(run).params))
    lines += [message for row in _last(rows, health.ENTRIES) for message in watch.see(row)]
    return "\n".join(lines) + "\n"


def _last(rows: Sequence[Row], count: int) -> Iterator[Row]:
    """Yield the rows with the last ``count`` values of each scalar, at most RECENT rows ago. Some
    rows lack a scalar.
    """
    rows = rows[-RECENT:]
    left = Counter(tag for row in rows for tag in row)
    for row in rows:
        yield {tag: value for tag, value in row.items() if left[tag] <= count}
        left.subtract(row.keys())


def _what(run: Path, rows: Sequence[Row], points: Sequence[float], worst: Collapse | None) -> str:
    begin = f"{run}: {len(rows)} log entries up to step {rows[-1]['step']:,.0f}"
    if min(points) == max(points):
        return (
            f"{begin}; points per step are {points[0]:.4g} in every rollout, so they cannot show a "
            "collapse; rollout/ep_rew_mean can"
        )
    if worst is None:
        return f"{begin}; no collapse found"
    return (
        f"{begin}; the policy collapsed, from {worst.peak:.4g} to {worst.bottom_level:.4g} points "
        f"a step, after the rollout that ended at step {rows[worst.onset]['step']:,.0f}, down to "
        f"step {rows[worst.bottom]['step']:,.0f}. It lost {worst.depth:.0%} of the distance from "
        "its best level to its lowest before (or to 0, if further)"
    )


def _signs(row: Row, departed: dict[str, Distance]) -> list[str]:
    lines = [f"outside its usual range first, at step {row['step']:,.0f}:"]
    for far in sorted(departed.values(), key=lambda far: -abs(far.deviations[0])):
        before, now = far.quantity.shown(far.before), far.quantity.shown(far.now)
        off = f"{abs(far.deviations[0]):.0f} standard deviations off"
        lines.append(f"  {far.quantity.name}: {before} before, {now} then, {off}")
    if {"train/minibatch_kl_max", "train/minibatch_kl_argmax"} <= row.keys():
        lines.append(
            f"  its largest KL was {row['train/minibatch_kl_max']:.3g}, of minibatch "
            f"{row['train/minibatch_kl_argmax']:.0f} of the update"
        )
    return lines


def _later(rows: Sequence[Row], index: int, first: Cause) -> Iterator[str]:
    """Yield a line for each other cause with a sign in the RECENT entries after the first sign."""
    seen = {first, signs.UNKNOWN}
    for later in range(len(rows))[index + 1 : index + 1 + RECENT]:
        departed = signs.departures(rows, later)
        if departed and (cause := signs.cause(rows, departed)) not in seen:
            seen.add(cause)
            step = f"{rows[later]['step']:,.0f}"
            yield f"later, at step {step}, perhaps a consequence, a sign of: {cause.name}"
