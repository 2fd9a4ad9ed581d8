"""The command that starts a run in its own process."""

import sys
from pathlib import Path

# Beside the package, in a checkout as in an installation.
RUN_ATARI = [sys.executable, str(Path(__file__).resolve().parents[2] / "run_atari.py")]
