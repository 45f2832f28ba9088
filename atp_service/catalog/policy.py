"""What applies to a channel, a SKU and a location. Pure: from records to values.

A policy is resolved before a command is sent and travels in it. The script decides on it.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from atp_service.catalog.records import Channel, Location, Sku
from atp_service.identifiers import Refusal


class Records(Protocol):
    """Master data by id, as the catalog has it in memory."""

    @property
    def channels(self) -> Mapping[str, Channel]: ...
    @property
    def skus(self) -> Mapping[str, Sku]: ...
    @property
    def locations(self) -> Mapping[str, Location]: ...


class Policy(NamedTuple):
    """The policy of a line.

    `safety_stock`: units that the channel withholds if the level has no safety stock of its own.
    `refused`: the first reason why none of it may be promised; None if it may.
    """

    safety_stock: int
    refused: Refusal | None


def policy_of(
    records: Records, channel: str, sku: str, location: str, *, asked: bool, new_channels: bool
) -> Policy:
    """The policy of the SKU at the location on the channel (empty: the call names none).

    `asked`: Postgres was asked for the names that memory does not have. `new_channels`: a channel
    that is not known yet sells like one without a policy, since it is created on first sight.
    """
    described = records.channels.get(channel)
    return Policy(
        0 if described is None else described.safety_stock,
        _unknown(records, channel if not new_channels else "", sku, location, asked=asked)
        or sku_refusal(records.skus.get(sku))
        or location_refusal(records.locations.get(location), channel),
    )


def sku_refusal(sku: Sku | None) -> Refusal | None:
    """Why the known SKU is not sold anywhere; None if it is, or is not known."""
    return "sku" if sku is not None and not sku.active else None


def location_refusal(location: Location | None, channel: str) -> Refusal | None:
    """Why the known location does not sell on the channel; None if it does, or is not known."""
    if location is None:
        return None
    if location.status != "active":
        return location.status
    if channel and location.channels is not None and channel not in location.channels:
        return "channel"
    return None


def _unknown(
    records: Records, channel: str, sku: str, location: str, *, asked: bool
) -> Refusal | None:
    if not asked and channel and channel not in records.channels:
        return "unasked_channel"
    if sku not in records.skus:
        return "unknown_sku" if asked else "unasked"
    if location not in records.locations:
        return "unknown_location" if asked else "unasked"
    if channel and channel not in records.channels:
        return "unknown_channel"
    return None
