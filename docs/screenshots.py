"""Takes the README's pictures of TensorBoard: run `python -m docs.screenshots RUN`.

It needs Chromium or Chrome, found in PATH or named by the variable BROWSER. RUN is the folder of a
run with a video, or of several runs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ppo.files.folder import FolderError
from ppo.study import board

DOCS = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = (1400, 900)
# How long the page's own clock runs before the picture is taken.
MILLISECONDS = 20_000
# The picture, and the part of TensorBoard that it shows.
PICTURES = {"tensorboard.png": "timeseries", "tensorboard-images.png": "images"}


def take(run: Path, folder: Path) -> list[Path]:
    """Take every picture; returns where they are. Raises FolderError, or CalledProcessError if the
    browser fails.
    """
    program = browser()
    taken = []
    with board.served(run) as address:
        for name, part in PICTURES.items():
            taken.append(folder / name)
            _photograph(program, f"{address.rpartition('#')[0]}#{part}", taken[-1])
    return taken


def browser() -> str:
    """The browser's program. Raises FolderError if there is none."""
    names = [os.environ["BROWSER"]] if "BROWSER" in os.environ else BROWSERS
    for name in names:
        if found := shutil.which(name):
            return found
    raise FolderError(f"none of {', '.join(names)} is in PATH; name one by BROWSER=PROGRAM")


def _photograph(program: str, address: str, picture: Path) -> None:
    width, height = SIZE
    with tempfile.TemporaryDirectory() as profile:
        command = [
            *(program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={profile}", f"--window-size={width},{height}"),
            *(f"--virtual-time-budget={MILLISECONDS}", f"--screenshot={picture}", address),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    if not picture.exists():
        raise FolderError(f"{program} took no picture of {address}")


def main() -> int:
    """Take the pictures, into docs/figures or the folder that is named; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.screenshots", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder, or one with several runs")
    parser.add_argument("--out", type=Path, default=DOCS / "figures", help="where to put them")
    options = parser.parse_args()
    try:
        for picture in take(options.run, options.out):
            print(picture)
    except (FolderError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
