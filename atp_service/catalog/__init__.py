"""Master data: what the locations, SKUs, channels and feeds are, in memory in every process."""

from atp_service.catalog.catalog import Catalog, Change
from atp_service.catalog.records import Channel, Feed, Location, Record, Sku

__all__ = ["Catalog", "Change", "Channel", "Feed", "Location", "Record", "Sku"]
