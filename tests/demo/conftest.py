"""The instance that the retailer trades on."""

from tests.instance import instance

__all__ = ["instance"]
