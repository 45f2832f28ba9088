"""Bodies of the reservation calls, bounded as the contract says."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from atp_service.identifiers import Id, LocationId, Quantity, Text
from atp_service.inventory.commands import NoPickReason

TtlSeconds = Annotated[int, Meta(ge=1, le=14_400, description="life of the hold", examples=[900])]
Durability = Literal["redis", "ledger"]


class LineRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units asked for at a location; `line_id` left out is the line's place, from 1."""

    sku: Id
    location: LocationId
    quantity: Quantity
    line_id: Id | None = None


Lines = Annotated[list[LineRequest], Meta(min_length=1, max_length=100)]


class HoldRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lines to hold together, all or nothing unless `allow_partial`."""

    lines: Lines
    reservation_id: Id | None = None
    channel: Id | None = None
    customer_id: Id | None = None
    ttl_seconds: TtlSeconds = 900
    allow_partial: bool = False
    durability: Durability | None = None


class ReplaceRequest(HoldRequest, frozen=True, kw_only=True):
    """Lines to hold instead; channel and customer stay as they are if left out.

    The body of the hold may be sent once more: its `reservation_id` has to be that of the path.
    """

    if_generation: Annotated[int, Meta(ge=1)] | None = None


class ExtendRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The new life of the hold, from now."""

    ttl_seconds: TtlSeconds


class ConfirmRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The order the units are for."""

    order_id: Id
    durability: Durability | None = None


class LineUnitsRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some units of one line."""

    line_id: Id
    quantity: Quantity


PartLines = Annotated[list[LineUnitsRequest], Meta(min_length=1, max_length=100)]


class ReleaseRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units to give back; without lines, all that are open."""

    lines: PartLines | None = None
    reason: Text | None = None
    durability: Durability | None = None


class FulfilRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units that leave; without lines, all that are allocated."""

    lines: PartLines | None = None
    location: LocationId | None = None
    shipment_id: Id | None = None
    erp_document: Id | None = None
    durability: Durability | None = None


class NoPickRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Units the store can't find."""

    line_id: Id
    quantity: Quantity
    reason: NoPickReason
    reassign: Annotated[
        bool, Meta(description="not available yet", extra_json_schema={"const": False})
    ] = False
