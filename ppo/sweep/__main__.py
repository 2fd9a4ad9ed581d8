"""Many runs side by side: ``python -m ppo.sweep --help``."""

import sys

from ppo.sweep.sweep import main

if __name__ == "__main__":
    sys.exit(main())
