"""Master data: what the locations, SKUs, channels and feeds are, in memory in every process."""

from atp_service.catalog.catalog import Catalog, Unavailable
from atp_service.catalog.records import Channel, Feed, Location, Record, Sku

__all__ = ["Catalog", "Channel", "Feed", "Location", "Record", "Sku", "Unavailable"]
