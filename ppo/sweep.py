"""Many runs side by side: ``python -m ppo.sweep --help``."""

import sys

from ppo.study.sweep import main

if __name__ == "__main__":
    sys.exit(main())
