"""The service as it runs, for whoever damages it and asks its commands."""

from tests.instance import instance

__all__ = ["instance"]
