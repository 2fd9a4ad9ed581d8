"""How the commands of this package read their arguments."""

import argparse
import os
from pathlib import Path


def argument_parser(
    module: str, description: str | None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Return a parser for ``python -m MODULE`` that prints the description as it is and accepts no
    abbreviated option.
    """
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog=epilog,
    )


def expanded(path: str | Path) -> Path:
    """Replace ``~`` by the home folder, which a shell does not do in ``--logdir=~/x``."""
    return Path(os.path.expanduser(path))
