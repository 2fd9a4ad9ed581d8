"""How the commands of this package read their arguments."""

import argparse
import os
from pathlib import Path


def argument_parser(
    module: str, description: str | None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """That of ``python -m MODULE``: the description stands as it is written, and no option may be
    shortened.
    """
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog=epilog,
    )


def expanded(path: str | Path) -> Path:
    """A path with ``~`` replaced by the home folder: a shell leaves ``--logdir=~/x`` as it is."""
    return Path(os.path.expanduser(path))
