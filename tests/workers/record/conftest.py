"""Journals of one and of three partitions, recorded."""

from tests.partitions import partitions

__all__ = ["partitions"]
