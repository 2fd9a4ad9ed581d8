"""The command, whose saves take so long that the other workers have ended before."""

import sys
import time

import run_atari
from ppo.runs.keeper import Keeper
from ppo.system.signals import REPEAT_SECONDS
from ppo.workers import launch

save = Keeper.save


def slowly(*arguments) -> None:
    time.sleep(10 * REPEAT_SECONDS)
    save(*arguments)


if __name__ == "__main__":
    Keeper.save = slowly
    launch.RUN_ATARI = [sys.executable, "-m", "tests.slow_save"]
    code = run_atari.main()
    time.sleep(3 * REPEAT_SECONDS)  # else all that the end brings belongs to one request
    sys.exit(code)
