"""Takes the README's pictures of TensorBoard: run `python -m docs.screenshots RUN`.

It needs Chromium or Chrome, found in PATH or named by the variable BROWSER. RUN is the folder of a
run, or of several runs. The Images tab is taken only if there is a video.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from docs.browser import Browser
from ppo.files.folder import FolderError
from ppo.report import board
from ppo.system.arguments import argument_parser, expanded
from ppo.system.command import run_command

DOCS = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = (1300, 840)
SECONDS = 12.0  # that a page is given to draw its curves
# The picture, and the part of TensorBoard that it shows.
PICTURES = {"tensorboard.png": "timeseries", "tensorboard-images.png": "images"}
# TensorBoard as it is after a click that closes the panel on the right, without the table of
# values below each chart.
SETTINGS = {"timeSeriesSettingsPaneOpened": False, "stepSelectorEnabled": False}
STORE = f"localStorage.setItem('_tb_global_settings', {json.dumps(json.dumps(SETTINGS))})"


def take(run: Path, folder: Path, seconds: float = SECONDS) -> list[Path]:
    """Take every picture; returns where they are. Raises FolderError, BrowserError, OSError."""
    program, taken = browser(), []
    with board.served(run) as (address, _), Browser(program, SIZE) as page:
        page.visit(address, 1.0)
        page.run(STORE)
        for name, part in PICTURES.items():
            if part == "images" and next(run.rglob("videos/*.mp4"), None) is None:
                continue
            page.visit(f"{address}?{board.FIRST_SCREEN}#{part}", seconds)
            taken.append(folder / name)
            taken[-1].write_bytes(page.picture())
    return taken


def browser() -> str:
    """The browser's program. Raises FolderError if there is none."""
    names = [os.environ["BROWSER"]] if "BROWSER" in os.environ else BROWSERS
    for name in names:
        if path := shutil.which(name):
            return path
    raise FolderError(f"none of {', '.join(names)} is in PATH; name one by BROWSER=PROGRAM")


def main() -> None:
    """Take the pictures, into docs/figures or the folder that is named."""
    parser = argument_parser("docs.screenshots", __doc__)
    parser.add_argument("run", type=expanded, help="a run's folder, or one with several runs")
    parser.add_argument("--out", type=expanded, default=DOCS / "figures", help="where to put them")
    options = parser.parse_args()
    for picture in take(options.run, options.out):
        print(picture)


if __name__ == "__main__":
    sys.exit(run_command(main))
