"""What can happen to stock. Each command is a msgpack map that the Lua reads by name.

A command carries its own idempotency key (a reservation's id and content, an event's source and
id, a caller's key), so any batch may be sent again. It also carries what policy resolved to when
it was made; the script decides on numbers alone. Times are Unix milliseconds, quantities are
integers in the SKU's base unit.
"""

import re
from hashlib import blake2b
from typing import Final, Literal

import msgspec
from msgspec import Struct

from atp_service.identifiers import Refusal, SnapshotPolicy
from atp_service.inventory.reservations import Order, Reservation
from atp_service.inventory.stock import StockLevel

NoPickReason = Literal["not_in_stock", "mismatch", "damaged", "display_worn"]
# What the store's reason makes of units it can't hand over: gone, or there but not to be sold.
NO_PICK_STATES: Final = {
    "mismatch": "quarantine",
    "damaged": "damaged",
    "display_worn": "display_worn",
}
Disposition = Literal["restock", "damaged", "quality_control", "in_transit", "to_dc"]


def _tag(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Command(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag=_tag):
    """One change asked of a partition; `traceparent` is carried into the journal.

    `forked` is the digest of the entry of a lost Redis that a rebuild applies again by this.
    """

    traceparent: str | None = None
    forked: str | None = None


class LineTerms(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The policy that applies to a line.

    `safety_stock`: units that the channel withholds if the level has no safety stock of its own.
    `refused`: why the line may not be promised. Both are decided on by the script alone.
    """

    line_id: str
    sku: str
    location: str
    safety_stock: int = 0
    refused: Refusal | None = None


class HoldLine(LineTerms, frozen=True, kw_only=True):
    """Units asked for.

    `granted`: of a hold that a rebuild repeats, the units that a partial hold was granted. The line
    takes that many, no more and no less.
    """

    quantity: int
    granted: int | None = None


class Terms(Struct, frozen=True, kw_only=True):
    """The policy of a reservation's lines, and for which channel, generation and lines it was made.

    If the reservation has become another one, the script needs other terms.
    """

    channel: str
    generation: int
    lines: list[LineTerms]


class LineUnits(Struct, frozen=True, kw_only=True):
    """Some units of one line of a reservation."""

    line_id: str
    quantity: int


# Promises: refused when the units are not there.


class Hold(Command, frozen=True, kw_only=True):
    """Hold the lines together until the ttl has passed; repeats are known by id and content."""

    reservation_id: str
    lines: list[HoldLine]
    fingerprint: str
    ttl_ms: int
    channel: str = ""
    customer_id: str = ""
    allow_partial: bool = False


class Replace(Command, frozen=True, kw_only=True):
    """Hold other lines instead, in one step; the reservation's own units count as available.

    `channel` and `customer_id` stay as they are if they are None. Then `terms_channel` is the
    channel that the lines' terms were made for (empty: no channel).
    """

    reservation_id: str
    lines: list[HoldLine]
    fingerprint: str
    ttl_ms: int
    channel: str | None = None
    customer_id: str | None = None
    terms_channel: str = ""
    allow_partial: bool = False
    if_generation: int | None = None
    key: str | None = None


class Extend(Command, frozen=True, kw_only=True):
    """Move the deadline of a live hold to now + ttl."""

    reservation_id: str
    ttl_ms: int
    key: str | None = None


class Confirm(Command, frozen=True, kw_only=True):
    """The order is placed: reserved units become allocated; lapsed ones are taken again.

    `terms`: for units that are taken again. A confirm in time needs none.
    """

    reservation_id: str
    order_id: str
    terms: Terms | None = None
    key: str | None = None


class Release(Command, frozen=True, kw_only=True):
    """Give units back; without lines, all that is still open."""

    reservation_id: str
    lines: list[LineUnits] | None = None
    reason: str | None = None
    key: str | None = None


class Fulfil(Command, frozen=True, kw_only=True):
    """Units of a confirmed reservation leave; without lines, all that is still allocated."""

    reservation_id: str
    lines: list[LineUnits] | None = None
    location: str | None = None
    shipment_id: str | None = None
    erp_document: str | None = None
    key: str | None = None


class NoPick(Command, frozen=True, kw_only=True):
    """The store can't find the units; the reason decides what becomes of them."""

    reservation_id: str
    line_id: str
    quantity: int
    reason: NoPickReason
    key: str | None = None


class Expire(Command, frozen=True, kw_only=True):
    """Reap holds whose deadline has passed, at most `limit`; each is an entry of its own."""

    limit: int


class Lapse(Command, frozen=True, kw_only=True):
    """One hold's deadline has passed. The script writes it when it reaps; it may also be sent."""

    reservation_id: str


class Forget(Command, frozen=True, kw_only=True, omit_defaults=False):
    """Redis lets go of closed reservations, and of orders whose confirm is no longer waited for.

    The script writes it when it reaps, about 100 ids an entry at most; it may also be sent.
    """

    reservation_ids: list[str]
    order_ids: list[str]


# Facts: never refused for lack of stock. (`source`, `event_id`) makes them happen once.


class Fact(Command, frozen=True, kw_only=True):
    """Something that has happened, as a feed reported it."""

    source: str
    event_id: str
    occurred_at_ms: int


class LevelFact(Fact, frozen=True, kw_only=True):
    """A fact about units of a SKU at a location."""

    sku: str
    location: str
    quantity: int


class Sale(LevelFact, frozen=True, kw_only=True):
    """Units sold; those that a named reservation or order holds fulfil it."""

    order_id: str | None = None
    reservation_id: str | None = None
    shipment_id: str | None = None
    document: str | None = None


class Shipment(Sale, frozen=True, kw_only=True):
    """Units sent out; as a sale."""


class Return(LevelFact, frozen=True, kw_only=True):
    """Units back from a customer; the disposition decides whether and when they can be sold."""

    disposition: Disposition = "restock"
    document: str | None = None
    order_id: str | None = None


class Receipt(LevelFact, frozen=True, kw_only=True):
    """Units in; the document's incoming falls."""

    document: str | None = None


class TransferShipped(Fact, frozen=True, kw_only=True):
    """Units on their way between two locations."""

    sku: str
    from_location: str
    to_location: str
    quantity: int
    document: str
    eta: str | None = None


class TransferReceived(Fact, frozen=True, kw_only=True):
    """Units of a transfer have arrived; may come before the news that they left."""

    sku: str
    to_location: str
    quantity: int
    document: str
    from_location: str | None = None


class Adjustment(LevelFact, frozen=True, kw_only=True):
    """A correction by ± units."""

    reason: str | None = None


class Count(LevelFact, frozen=True, kw_only=True):
    """Units counted at `occurred_at_ms`.

    `deltas_after` is the sum of the on_hand deltas that happened later, true as long as the
    level's counter of on_hand changes is still `moves`; else the outcome is `Moved`.
    """

    deltas_after: int
    moves: int


class Snapshot(LevelFact, frozen=True, kw_only=True):
    """Units the source believes there were at `occurred_at_ms`, to be compared with ours of then.

    `deltas_after` and `moves` as in a count. A difference beyond `tolerance` units (of either
    sign) is corrected, opens an exception or is only noted, as the feed's `policy` says.
    """

    policy: SnapshotPolicy
    tolerance: int = 0
    deltas_after: int = 0
    moves: int = 0


class SnapshotClosed(Fact, frozen=True, kw_only=True):
    """The source has reported all it has at the location; its omissions were reported as 0."""

    location: str


class StateChange(LevelFact, frozen=True, kw_only=True):
    """Units move between sellable and an unavailable state, or between two such states."""

    from_state: str
    to_state: str


class Incoming(LevelFact, frozen=True, kw_only=True):
    """A document's expected units; the latest by time wins, 0 cancels."""

    document: str
    eta: str | None = None


class Heartbeat(Fact, frozen=True, kw_only=True):
    """The feed is alive. Leaves no entry: it changes no stock."""


class SafetyStock(Command, frozen=True, kw_only=True):
    """A level's own safety stock; None leaves it to the channel's again."""

    sku: str
    location: str
    safety_stock: int | None = None
    key: str | None = None


class Park(Fact, frozen=True, kw_only=True):
    """Something arrived that can't be applied: kept with its payload, reason and owner."""

    reason: str
    owner: str
    subject: str
    detail: str
    payload: str


# Repairs: values changed in Redis past the script, set right from the ledger.


class RepairLevel(Command, frozen=True, kw_only=True):
    """The level as the ledger has it, and its place among its SKU's locations.

    `found` is what Redis had instead at the same moment; None where there was nothing, or nothing
    readable. If the level has moved on since, the difference of the numbers is what is repaired.
    `right` is None where the ledger has no such level. Outcome: Applied; Moved where it can't be
    told any more what is wrong: look again.
    """

    sku: str
    location: str
    found: StockLevel | None = None
    right: StockLevel | None = None


class RepairReservation(Command, frozen=True, kw_only=True):
    """The reservation as the ledger has it, and its deadline.

    `found_seq` is the latest entry Redis had of it instead; None where there was nothing, or
    nothing readable. `right` is None where the ledger has none. Outcome: Applied or Moved.
    """

    reservation_id: str
    found_seq: int | None = None
    right: Reservation | None = None


class RepairOrder(Command, frozen=True, kw_only=True):
    """The order's index as the ledger has it; `found` and `right` as in a level's repair."""

    order_id: str
    found: Order | None = None
    right: Order | None = None


_AnyPromise = (
    Hold | Replace | Extend | Confirm | Release | Fulfil | NoPick | Expire | Lapse | Forget
)
_AnyMove = Sale | Shipment | Return | Receipt | TransferShipped | TransferReceived | StateChange
_AnyStatement = Adjustment | Count | Snapshot | SnapshotClosed | Incoming | Heartbeat | Park
_AnyRepair = RepairLevel | RepairReservation | RepairOrder
AnyCommand = _AnyPromise | _AnyMove | _AnyStatement | SafetyStock | _AnyRepair

encode_command = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(AnyCommand).decode


def fingerprint(lines: list[HoldLine]) -> str:
    """The content of a cart in 16 characters: same lines in any order, same fingerprint."""
    content = [f"{a.line_id}\x1f{a.sku}\x1f{a.location}\x1f{a.quantity}" for a in lines]
    content.sort()
    return blake2b("\x1f".join(content).encode(), digest_size=8).hexdigest()


_OF_A_WHOLE_CART = frozenset({Confirm, Release, Fulfil})
LINES_OF_A_CART = 8  # where nobody says how many: most have fewer, and a call must bear the most


def weight(command: Command) -> int:
    """Lines of work in a command: what a batch's cap counts."""
    named = len(getattr(command, "lines", None) or ())
    return named or (LINES_OF_A_CART if type(command) in _OF_A_WHOLE_CART else 1)
