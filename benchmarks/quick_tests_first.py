"""For `make mutants`, a plugin of pytest: tests of single functions before those of an update.

A mutant is done at its first failure, which a test of milliseconds mostly finds.
"""

import pytest

OF_UPDATES = {"test_update.py", "test_distribution.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Called by pytest."""
    items.sort(key=lambda item: item.path.name in OF_UPDATES)
