"""Tests that run with one partition and with three on one Redis.

A folder's conftest imports the fixture, and so takes the place of the one in tests/conftest.py.
"""

import pytest


@pytest.fixture(params=[1, 3], ids=["whole", "in_three"])
def partitions(request: pytest.FixtureRequest) -> int:
    """How many partitions there are: each SKU's commands go to its own."""
    count: int = request.param
    return count
