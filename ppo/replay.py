"""Recorded games, played again: does each go as its file says?

    python -m ppo.replay FILE...
    python -m ppo.replay FILE --video OUT.mp4

For each file it says whether the score, the number of steps and the checksum of the last picture
that the agent saw agree.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ppo.files.video import VideoError
from ppo.play.again import play_again, render, unusable
from ppo.play.replay import ReplayError
from ppo.process.arguments import argument_parser
from ppo.process.exit_codes import ExitCode
from ppo.process.streams import make_safe


def main(arguments: Sequence[str] | None = None) -> int:
    """Play every file again and print a line for each; returns the exit code."""
    make_safe()
    options = _parse(arguments)
    if faults := unusable(options.files, options.video):
        return _fail(ExitCode.REFUSED, "\n".join(faults))
    try:
        agree = [play_again(path) for path in options.files]
        if not all(agree):
            return ExitCode.FAILED
        if options.video:
            render(options.files[0], options.video)
        return ExitCode.DONE
    except (ReplayError, VideoError) as error:
        return _fail(ExitCode.FAILED, str(error))
    except KeyboardInterrupt:
        return _fail(ExitCode.FAILED, "interrupted")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(
        "ppo.replay",
        __doc__,
        "Exit codes: 0 every game went as its file says, 1 one did not or no video could be "
        "made, 2 refused and nothing played.",
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="a replay, such as RUN/replays/*.json")
    add("--video", type=Path, metavar="OUT", help="render the one game as an mp4")
    return parser.parse_args(arguments)


def _fail(code: ExitCode, message: str) -> ExitCode:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
