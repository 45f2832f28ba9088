"""An instance whose processes a test starts one by one."""

from tests.instance import instance

__all__ = ["instance"]
