"""What a run will do, checked before hours are spent on it: ``--check``."""

import tempfile
from itertools import chain, islice
from pathlib import Path

from ppo.envs import registry
from ppo.envs.registry import resolved
from ppo.envs.screens import ATARI_FRAMES_PER_SECOND
from ppo.files import video
from ppo.files.folder import FolderError, check_parent
from ppo.params import with_workers
from ppo.preflight import sheet
from ppo.preflight.details import NONE, details
from ppo.preflight.forecast import forecast, times
from ppo.preflight.probe import Probe, probe
from ppo.replay import render
from ppo.settings import Params, ResolvedParams
from ppo.system.device import precision_remark
from ppo.system.signals import stop_interrupts
from ppo.system.streams import counted, duration
from ppo.train import check_machine
from ppo.workers.cluster import check_alone

CLIP_FRAMES = 240  # frames of the video that is measured


@stop_interrupts()
def check(settings: Params, image: Path) -> None:
    """Print what will run, and which implementation details are enabled. Write a contact sheet of
    an Atari game. Print a forecast of time, memory and disk from a few measured iterations. Nothing
    else is left behind.

    Raises ParamsError for settings of several workers or that this machine cannot run, FolderError
    (nothing was created), ClusterError, ProbeError, OSError.
    """
    check_alone()
    params = resolved(with_workers(settings, 1))
    check_machine(params, processes=1)
    if is_atari := registry.rules_of(params).is_atari:
        if image.suffix != ".png":
            raise FolderError(f"{image}: the contact sheet is a PNG; name it with .png at the end")
        check_parent(image)
    print("\n".join(plan(params)), end="\n\n")
    for group, rows in details(params, is_atari).items():
        for number, one in enumerate(rows, 1):
            if one.state != NONE:
                print(f"{group:5} {number:2}  {one.state:4}{one.name:46}{one.settings}".rstrip())
    if is_atari:
        sheet.draw(params, image)
        print(f"\nwhat the network sees: {image}")
    print("\nmeasuring the first iterations, in a temporary folder ...", flush=True)
    measured, video_rate = probe(params), 0.0
    try:
        video_rate = _video_rate(params) if is_atari else 0.0
    except video.VideoError as error:
        print(f"no video can be made: {error}")
    print("\n".join(outlook(params, measured, video_rate)))


def plan(params: ResolvedParams) -> list[str]:
    """Return what will run: the game, and the arithmetic of steps, frames and minibatches."""
    rules = registry.rules_of(params)
    kind, sticky = "an environment outside Atari", ""
    if rules.is_atari:
        kind, sticky = "an Atari game", f", sticky actions {params.sticky_action_probability:g}"
    shape = " x ".join(map(str, registry.observation_shape(params)))
    frames = f", {params.whole_steps * rules.frames_per_step:,} frames" if rules.is_atari else ""
    gradient_steps = params.num_epochs * params.num_minibatches
    rounded = f" ({params.total_steps:,} rounded up to whole rollouts)"
    rounded = "" if params.whole_steps == params.total_steps else rounded
    return [
        f"{params.env_id}: {kind}, observations {shape}{sticky}",
        f"{params.whole_steps:,} steps{rounded}{frames}",
        f"{params.num_iterations:,} rollouts of {params.num_envs} envs x {params.num_steps} steps "
        f"= {params.batch_size:,} steps, each followed by an update",
        f"an update: {params.num_epochs} epochs x {params.num_minibatches} minibatches of "
        f"{params.batch_size:,} / {params.num_minibatches} = {params.minibatch_size:,} steps: "
        f"{gradient_steps:,} gradient steps, {params.num_iterations * gradient_steps:,} in all",
        *filter(None, [precision_remark(params.precision)]),
    ]


def outlook(params: ResolvedParams, measured: Probe, video_rate: float) -> list[str]:
    """Return network and forecast, in lines. ``video_rate`` is in bytes per second of a game."""
    ahead, evaluations, videos = forecast(params, measured), "", ""
    if ahead.evaluations is None:
        evaluations = ", and evaluations, whose games were too long to be measured"
    elif ahead.evaluations:
        evaluations = (
            f", {duration(ahead.evaluations)} of it for {times(params.evaluation_interval, params)}"
            " evaluations, if games stay as short as with the first policy"
        )
    if video_rate and params.video_interval:
        count = times(params.video_interval, params) + 1  # the first shows the untrained policy
        videos = (
            f", {counted(count, 'video')} of {_size(60 * video_rate)} for each minute of a game"
        )
        if (steps := measured.game_steps) is not None:
            seconds = steps * params.frame_skip / ATARI_FRAMES_PER_SECOND
            size = _size(count * video_rate * seconds)
            videos = f", {size} of {counted(count, 'video')} of {duration(seconds)} each"
    speed, threads = params.whole_steps / ahead.seconds, counted(params.threads, "thread")
    return [
        f"network {params.network}: {measured.num_weights:,} weights, {measured.num_actions} "
        f"actions{'' if params.is_custom else f', {params.precision}'}",
        f"time: {duration(ahead.seconds)} with {threads} ({speed:,.0f} steps/s){evaluations}",
        f"memory: {_size(ahead.memory)} at most",
        f"disk: {_size(ahead.checkpoints)} of checkpoints, {_size(ahead.logs)} of logs{videos}",
    ]


def _video_rate(params: ResolvedParams) -> float:
    """Return the bytes per second of video, measured on the first seconds of a game."""
    frames = chain.from_iterable(moment.frames for moment in sheet.moments(params))
    with tempfile.TemporaryDirectory(prefix="ppo-check-") as folder:
        path = Path(folder, "clip.mp4")
        clip = map(render.enlarged, islice(frames, CLIP_FRAMES))
        video.write(path, clip, ATARI_FRAMES_PER_SECOND)
        return path.stat().st_size * ATARI_FRAMES_PER_SECOND / CLIP_FRAMES


def _size(number: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
