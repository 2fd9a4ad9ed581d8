#!/usr/bin/env python3
"""Train a PPO agent on an Atari game, resume its training, evaluate it, or watch it play."""

import sys
import time

from ppo.cli.parser import parse
from ppo.system.command import run_command


def main(arguments: list[str] | None = None) -> int:
    """Run ``arguments``, by default the process's own, and return the exit code."""
    began = time.monotonic()

    def command() -> int | None:
        options = parse(arguments, __doc__)
        options.began = began
        return options.command.run(options)

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
