"""Failure drills: ``python -m ppo.drill --help``."""

import sys

from ppo.drill.drill import main

if __name__ == "__main__":
    sys.exit(main())
