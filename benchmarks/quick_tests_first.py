"""For `make mutants`, a plugin of pytest: quick tests, which find most mutants, come first."""

import pytest

OF_UPDATES = {"test_update.py", "test_distribution.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Called by pytest."""
    items.sort(key=lambda item: item.path.name in OF_UPDATES)
