"""Replay recorded games, and compare each with its file.

    python -m ppo.replay FILE...
    python -m ppo.replay FILE --video OUT.mp4
    python -m ppo.replay FILE --env=MODULE:ID

For each file it says whether score, number of steps, number of frames and the checksum of the last
observation agree. A module is imported only if the params.json of the file's run, or ``--env``,
names it.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ppo.errors import ExitCode, Refused
from ppo.files.folder import FolderError, RunFolder, check_parent
from ppo.params import ParamsError, load_run
from ppo.replay.render import Course, record
from ppo.replay.replay import CannotPlay, NamesModule, Replay, ReplayError, compare, load
from ppo.system.arguments import argument_parser, expanded
from ppo.system.command import run_command
from ppo.system.signals import stop_interrupts

# The format of each quantity of `compare`.
FORMS = {"score": ".10g", "steps": ",", "frames": ",", "last_observation": "08x"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay every file and print a line for each. Return the exit code."""
    return run_command(lambda: _play_all(command_line().parse_args(arguments)))


@stop_interrupts()
def _play_all(options: argparse.Namespace) -> ExitCode:
    if faults := unusable(options.files, options.video, options.env):
        raise Refused("\n".join(faults))
    agree = []
    with suppress(BrokenPipeError):  # whoever read the output has enough
        for path in options.files:
            agree.append(play_again(path, options.env))
        if options.video and all(agree):
            replay = read(options.files[0], options.env)
            course = Course(replay)
            count = record(replay, options.video, course)
            print(f"{options.video}: {count:,} frames")
            if course.gaps:
                print(course.gaps)
    return ExitCode.DONE if all(agree) else ExitCode.FAILED


def read(path: Path, env_id: str | None = None) -> Replay:
    """Read a replay. A module must be named by ``env_id`` or the file's run. Raises ReplayError."""
    try:
        return load(path, env_id)
    except NamesModule:
        with suppress(ParamsError):
            env_id = load_run(RunFolder(path.absolute().parent.parent).params).env_id
        return load(path, env_id)


def unusable(files: Sequence[Path], video: Path | None, env_id: str | None) -> list[str]:
    """Return all faults of the files and of the video's path, before anything is played."""
    faults = []
    for path in files:
        try:
            read(path, env_id)
        except NamesModule as error:
            faults.append(f"{error}. If you trust its code, add --env={error.game}")
        except ReplayError as error:
            faults.append(str(error))
    if video and len(files) > 1:
        faults.append(f"--video: {len(files)} files are given; choose the one to render")
    if video and video.suffix != ".mp4":
        faults.append(f"--video {video}: a video's name ends in .mp4")
    if video:
        try:
            check_parent(video)
        except FolderError as error:
            faults.append(f"--video: {error}")
    return faults


def play_again(path: Path, env_id: str | None) -> bool:
    """Replay a game and print the result. Return whether it agrees with its file."""
    try:
        compared = compare(read(path, env_id))
    except ReplayError as error:
        verdict = "not played" if isinstance(error, CannotPlay) else "DIFFERS"
        print(f"{path}: {verdict}: {error}", flush=True)
        return False
    same = all(before in (None, now) for now, before in compared.values())
    described = ", ".join(_described(name, *values) for name, values in compared.items())
    print(f"{path}: {'agrees' if same else 'DIFFERS'}: {described}", flush=True)
    return same


def _described(name: str, now: float, before: float | None) -> str:
    text = f"{name.replace('_', ' ')} {now:{FORMS[name]}}"
    if before is None:
        return f"{text} (not recorded)"
    return text if now == before else f"{text} (recorded: {before:{FORMS[name]}})"


def command_line() -> argparse.ArgumentParser:
    """Return the command's parser."""
    codes = (
        "Exit codes: 0 all games agree with their files, 1 a game differs or no video could be "
        "made, 2 refused and nothing played."
    )
    parser = argument_parser("ppo.replay", __doc__, codes)
    add, file = parser.add_argument, "a replay, such as RUN/replays/*.json"
    add("files", nargs="+", type=expanded, metavar="FILE", help=file)
    add("--env", metavar="MODULE:ID", help="an environment of yours whose module may be imported")
    add(
        "--video",
        type=expanded,
        metavar="OUT",
        help="render the one game as an mp4; an existing file is replaced",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
