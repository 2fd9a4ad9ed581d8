"""Files without a name."""

import os
import tempfile


def unnamed_file(purpose: str) -> int:
    """Return the descriptor of a new file: in memory on Linux, otherwise a temporary one."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(purpose)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
