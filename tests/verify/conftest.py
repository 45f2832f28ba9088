"""A stock in an empty Redis, and an empty ledger that knows it."""

from tests.record.conftest import empty_ledger, ledger, stock

__all__ = ["empty_ledger", "ledger", "stock"]
