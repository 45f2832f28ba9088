"""The reservation calls: each is one command through the door.

When several refusals apply they win in this order: malformed, invalid, unknown SKU, location,
channel, and then what the script says, with `location-unavailable` after a reused id.
"""

from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from secrets import token_hex

from msgspec import structs

from atp_service.api.channels import sell_on
from atp_service.api.problems import ProblemLine, Refused, invalid, problem
from atp_service.api.reservations.documents import document
from atp_service.api.reservations.outcomes import answer, no_reservation
from atp_service.api.reservations.requests import (
    ConfirmRequest,
    Durability,
    ExtendRequest,
    FulfilRequest,
    HoldRequest,
    LineRequest,
    LineUnitsRequest,
    NoPickRequest,
    ReleaseRequest,
    ReplaceRequest,
)
from atp_service.api.responses import Answer, Call
from atp_service.catalog import Catalog
from atp_service.catalog.policy import location_refusal
from atp_service.inventory.commands import (
    Command,
    Confirm,
    Extend,
    Fulfil,
    Hold,
    HoldLine,
    LineUnits,
    NoPick,
    Release,
    Replace,
    fingerprint,
)
from atp_service.inventory.model.reservations import is_short
from atp_service.inventory.outcomes import Changed, Confirmed, Held, Outcome, Repeated
from atp_service.inventory.reservations import Reservation
from atp_service.ledger import Ledger
from atp_service.postgres import Unavailable
from atp_service.store import Store, Unreadable, as_of


class Reservations:
    """Functions from a decoded request to an answer; both the lane and Litestar call them."""

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        catalog: Catalog,
        auto_create: bool,
        durability: Durability,
        ledger_timeout_seconds: float,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._catalog = catalog
        self._auto_create = auto_create
        self._durability = durability
        self._ledger_timeout_seconds = ledger_timeout_seconds

    async def hold(self, call: Call, body: HoldRequest) -> Answer:
        channel, customer_id = body.channel or "", body.customer_id or ""
        lines = self._lines(body.lines, channel)
        content = fingerprint(lines)
        reservation_id = body.reservation_id or _own_id(call.key)
        # Who asks again must hear what they were told, whoever is unknown or closed by now.
        try:
            lines = await self._known(lines, channel)
        except (Refused, Unavailable):
            held = await self._store.reservation(reservation_id)
            if not _has(held, content, channel, customer_id):
                raise
        closed = self._closed(lines, channel)
        if closed and await self._store.reservation(reservation_id) is None:
            return _location_unavailable(closed)
        outcome = await self._apply(
            Hold(
                reservation_id=reservation_id,
                lines=lines,
                fingerprint=content,
                ttl_ms=body.ttl_seconds * 1000,
                channel=channel,
                customer_id=customer_id,
                allow_partial=body.allow_partial,
                traceparent=call.traceparent,
            ),
            body.durability,
        )
        return answer(reservation_id, outcome)

    async def get(self, reservation_id: str) -> Answer:
        reservation = None
        with suppress(Unreadable):
            reservation = await self._store.reservation(reservation_id)
        if reservation is None:
            recorded = await self._ledger.reservation(reservation_id)
            reservation = recorded and as_of(recorded, await self._store.now_ms())
        if reservation is None:
            return no_reservation(reservation_id)
        return Answer(200, document(reservation_id, reservation))

    async def replace(self, call: Call, reservation_id: str, body: ReplaceRequest) -> Answer:
        if body.reservation_id not in (None, reservation_id):
            return invalid(("/reservation_id", "not the id in the path"))
        known = await self._store.reservation(reservation_id)
        channel = body.channel or (known.channel if known else "")
        customer_id = body.customer_id or (known.customer_id if known else "")
        lines = self._lines(body.lines, channel)
        content = fingerprint(lines)
        repeated = (
            known is not None
            and known.status in ("held", "confirmed")
            and _has(known, content, channel, customer_id)
            and (body.allow_partial or not is_short(known))
        )
        try:
            lines = await self._known(lines, channel)
        except (Refused, Unavailable):
            if not repeated:
                raise
        if known is None:
            return no_reservation(reservation_id)
        closed = self._closed(lines, channel)
        # What the reservation itself is past comes first, and the script says it. Neither comes
        # back, so the script takes nothing there meanwhile.
        past = known.status not in ("held", "expired") or (
            body.if_generation is not None and body.if_generation < known.generation
        )
        if closed and not repeated and not past:
            return _location_unavailable(closed)
        outcome = await self._apply(
            Replace(
                reservation_id=reservation_id,
                lines=lines,
                fingerprint=content,
                ttl_ms=body.ttl_seconds * 1000,
                channel=channel,
                customer_id=customer_id,
                allow_partial=body.allow_partial,
                if_generation=body.if_generation,
                key=call.key,
                traceparent=call.traceparent,
            ),
            body.durability,
        )
        return answer(reservation_id, outcome, held=200)

    async def extend(self, call: Call, reservation_id: str, body: ExtendRequest) -> Answer:
        outcome = await self._apply(
            Extend(
                reservation_id=reservation_id,
                ttl_ms=body.ttl_seconds * 1000,
                key=call.key,
                traceparent=call.traceparent,
            ),
            None,
        )
        return answer(reservation_id, outcome)

    async def confirm(self, call: Call, reservation_id: str, body: ConfirmRequest) -> Answer:
        outcome = await self._apply(
            Confirm(
                reservation_id=reservation_id,
                order_id=body.order_id,
                key=call.key,
                traceparent=call.traceparent,
            ),
            body.durability,
        )
        return answer(reservation_id, outcome, confirming=True)

    async def release(self, call: Call, reservation_id: str, body: ReleaseRequest) -> Answer:
        outcome = await self._apply(
            Release(
                reservation_id=reservation_id,
                lines=_units(body.lines),
                reason=body.reason,
                key=call.key,
                traceparent=call.traceparent,
            ),
            body.durability,
        )
        return answer(reservation_id, outcome, named=body.lines)

    async def fulfil(self, call: Call, reservation_id: str, body: FulfilRequest) -> Answer:
        units = _units(body.lines)
        await self._check_location(body)
        outcome = await self._apply(
            Fulfil(
                reservation_id=reservation_id,
                lines=units,
                location=body.location,
                shipment_id=body.shipment_id,
                erp_document=body.erp_document,
                key=call.key,
                traceparent=call.traceparent,
            ),
            body.durability,
        )
        return answer(
            reservation_id, outcome, wrong_status="reservation-not-confirmed", named=body.lines
        )

    async def no_pick(self, call: Call, reservation_id: str, body: NoPickRequest) -> Answer:
        if body.reassign:
            return invalid(("/reassign", "a line can't be moved elsewhere by the service yet"))
        outcome = await self._apply(
            NoPick(
                reservation_id=reservation_id,
                line_id=body.line_id,
                quantity=body.quantity,
                reason=body.reason,
                key=call.key,
                traceparent=call.traceparent,
            ),
            None,
        )
        return answer(reservation_id, outcome, wrong_status="reservation-not-confirmed")

    def _lines(self, asked: Sequence[LineRequest], channel: str) -> list[HoldLine]:
        """The lines of a command; refuses what is invalid."""
        safety_stock = self._catalog.safety_stock(channel)
        lines = [
            HoldLine(
                line_id=line.line_id or str(place),
                sku=line.sku,
                location=line.location,
                quantity=line.quantity,
                safety_stock=safety_stock,
            )
            for place, line in enumerate(asked, 1)
        ]
        if len(lines) > 1:
            _check_distinct([line.line_id for line in lines])
        return lines

    async def _known(self, lines: list[HoldLine], channel: str) -> list[HoldLine]:
        """The lines, with what the channel withholds; refuses who is unknown: SKU, location,
        channel, in that order."""
        skus, locations = self._catalog.skus, self._catalog.locations
        for line in lines:
            if line.sku not in skus or line.location not in locations:
                await self._look_for(lines)
                break
        if channel and channel not in self._catalog.channels:
            await sell_on(self._catalog, channel, auto_create=self._auto_create)
            safety_stock = self._catalog.safety_stock(channel)
            return [structs.replace(line, safety_stock=safety_stock) for line in lines]
        return lines

    async def _look_for(self, lines: Sequence[HoldLine]) -> None:
        catalog = self._catalog
        asked = await catalog.look_again(
            skus={line.sku for line in lines}, locations={line.location for line in lines}
        )
        strange_skus = [line for line in lines if line.sku not in catalog.skus]
        strange_locations = [line for line in lines if line.location not in catalog.locations]
        if not asked:
            await self._check_stocked([*strange_skus, *strange_locations])
            return
        if strange_skus:
            raise Refused(_unknown("unknown-sku", strange_skus))
        if strange_locations:
            raise Refused(_unknown("unknown-location", strange_locations))

    async def _check_stocked(self, lines: Sequence[HoldLine]) -> None:
        """What has a level is known: while master data can't be asked, selling goes on."""
        levels = await self._store.levels([(line.sku, line.location) for line in lines])
        if None in levels:
            raise Unavailable("nobody can say whether these lines are known")

    async def _check_location(self, body: FulfilRequest) -> None:
        location = body.location
        if location is None or location in self._catalog.locations:
            return
        asked = await self._catalog.look_again(locations=[location])
        if location not in self._catalog.locations:
            if not asked:
                raise Unavailable(f"location {location} can't be looked for")
            raise Refused(
                problem(
                    "unknown-location",
                    f"{location} is not known.",
                    location=location,
                    lines=[ProblemLine(line.line_id) for line in body.lines or ()],
                )
            )

    def _closed(self, lines: Sequence[HoldLine], channel: str) -> list[ProblemLine]:
        """The lines whose location doesn't sell on the channel now, each with why."""
        closed = []
        for line in lines:
            location = self._catalog.locations.get(line.location)
            reason = location_refusal(location, channel)
            if reason:
                closed.append(ProblemLine(line.line_id, line.sku, line.location, reason))
        return closed

    async def _apply(self, command: Command, asked: Durability | None) -> Outcome:
        """The outcome; in the ledger's tier when the ledger has it. Repeats wait too: who asks
        again must be able to rely on the answer. A refusal has nothing to wait for."""
        if (asked or self._durability) == "redis":
            return await self._store.apply(command)
        outcome = await self._store.apply(command)
        if isinstance(outcome, Held | Changed | Confirmed | Repeated):
            await self._ledger.wait_for_answer(
                outcome.entry, outcome.reservation, self._ledger_timeout_seconds
            )
        return outcome


def _has(known: Reservation | None, content: str, channel: str, customer_id: str) -> bool:
    """Whether the reservation is there, of this content."""
    return known is not None and (known.fingerprint, known.channel, known.customer_id) == (
        content,
        channel,
        customer_id,
    )


def _own_id(key: str | None) -> str:
    """An id for who brought none; out of the key where there is one, so that a retry is safe."""
    if key is None:
        return f"r-{token_hex(12)}"
    return f"r-{blake2b(key.encode(), digest_size=12).hexdigest()}"


def _check_distinct(line_ids: Sequence[str]) -> None:
    if len(set(line_ids)) == len(line_ids):
        return
    repeated = [i for i, line_id in enumerate(line_ids) if line_id in line_ids[:i]]
    raise Refused(invalid(*((f"/lines/{i}/line_id", "used by another line") for i in repeated)))


def _units(lines: Sequence[LineUnitsRequest] | None) -> list[LineUnits] | None:
    if lines is None:
        return None
    _check_distinct([line.line_id for line in lines])
    return [LineUnits(line_id=line.line_id, quantity=line.quantity) for line in lines]


def _unknown(slug: str, lines: Sequence[HoldLine]) -> Answer:
    names = ", ".join(line.line_id for line in lines)
    return problem(
        slug,
        f"Not known, of line {names}.",
        lines=[ProblemLine(line.line_id, line.sku, line.location) for line in lines],
    )


def _location_unavailable(closed: list[ProblemLine]) -> Answer:
    reasons = ", ".join(f"{line.location} ({line.reason})" for line in closed)
    return problem("location-unavailable", f"Doesn't sell this now: {reasons}.", lines=closed)
