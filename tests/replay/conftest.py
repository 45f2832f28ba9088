"""The instance that files are replayed on, and the real invoices."""

import os
from pathlib import Path

import pytest

from tests.instance import ROOT, instance

__all__ = ["instance", "online_retail"]

SHARED = ROOT.parent / "shared" / "data" / "transactions" / "online_retail_uci"


@pytest.fixture
def online_retail() -> Path:
    """The folder with the real invoices, which are not part of this project."""
    if not SHARED.is_dir():
        pytest.skip(f"the Online Retail data is not in {os.path.relpath(SHARED, ROOT)}")
    return SHARED
