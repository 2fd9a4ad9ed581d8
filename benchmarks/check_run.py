"""Is everything in a run's folder what it claims to be? `python -m benchmarks.check_run DIR`.

Plays every replay again, and decodes every video and counts its pictures.
"""

import sys

import imageio_ffmpeg

from ppo.files.folder import RunFolder
from ppo.params import of_run
from ppo.replay import replay
from ppo.replay.render import held_pictures
from ppo.system.arguments import argument_parser, expanded


def main() -> int:
    """Print a line for each file; exit code 0 only if all are valid."""
    parser = argument_parser("benchmarks.check_run", __doc__)
    parser.add_argument("logdir", type=expanded)
    folder = RunFolder(parser.parse_args().logdir)
    valid = True
    for path in sorted(folder.replays.glob("*.json")):
        written, same = replay.load(path, of_run(folder.params).env_id), True
        try:
            replay.verify(written)
        except replay.ReplayError as error:
            print(error)
            same = False
        line = f"{path.name}: {written.score:g} points, {written.steps} steps, played again"
        movie = folder.videos / f"{path.stem}.mp4"
        if movie.exists():
            pictures, seconds = imageio_ffmpeg.count_frames_and_secs(str(movie))
            wanted = written.frames + held_pictures(written)
            same &= pictures == wanted
            line += f"; {movie.name}: {pictures} pictures of {wanted}, {seconds:.1f} s"
        valid &= same
        print(line, "valid" if same else "WRONG")
    return 0 if valid else 1


if __name__ == "__main__":
    sys.exit(main())
