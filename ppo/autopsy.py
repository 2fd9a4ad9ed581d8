"""Why a run's policy fell: ``python -m ppo.autopsy --help``."""

import sys

from ppo.study.autopsy import main

if __name__ == "__main__":
    sys.exit(main())
