"""A retailer whose Redis, of one or of three partitions, is damaged and looked after."""

from tests.partitions import partitions

__all__ = ["partitions"]
