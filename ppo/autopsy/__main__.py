"""Why a run's policy collapsed: ``python -m ppo.autopsy --help``."""

import sys

from ppo.autopsy.autopsy import main

if __name__ == "__main__":
    sys.exit(main())
