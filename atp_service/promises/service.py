"""Promises: a request becomes one command, with the policy that applies. The script decides alone.

Three calls depend on what the reservation already is: a replace that names no channel, a confirm
after expiry, and a no-pick that moves a line. If the script needs terms that the command does not
have, it changes nothing and shows the reservation. The terms are resolved and sent with it.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from secrets import token_hex
from typing import Literal, NamedTuple, TypeVar

from msgspec import Struct, structs

from atp_service.catalog import Catalog
from atp_service.catalog.resolve import look_for, policies_of
from atp_service.inventory import commands, outcomes
from atp_service.inventory.commands import Confirm, LineTerms, Replace, fingerprint
from atp_service.inventory.outcomes import Outcome
from atp_service.inventory.reservations import Reservation
from atp_service.ledger import Ledger
from atp_service.postgres import Unavailable
from atp_service.promises.requests import (
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
from atp_service.store import Store, Unreadable, as_of

C = TypeVar("C", Replace, Confirm)
L = TypeVar("L", bound=LineTerms)

_TERMS_RESOLVED_AT_MOST = 4


class UnknownName(Struct, frozen=True):
    """The call names a channel, or a location that units leave, that is not known."""

    kind: Literal["channel", "location"]
    name: str


class Caller(NamedTuple):
    """What a call carries into the command: the caller's idempotency key, and its trace."""

    key: str | None = None
    traceparent: str | None = None


class Promise(NamedTuple):
    """The outcome of a call, and the reservation's id, which the service makes if there is none.

    `outcome` is TermsNeeded if the reservation changed each time its terms were resolved.
    """

    reservation_id: str
    outcome: Outcome | UnknownName


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """The reservation calls. Each raises the store's Unavailable, Fenced and Overloaded.

    With durability `ledger` a call returns once its entry is in the ledger, and raises Postgres's
    Unavailable if that takes too long. A retry then makes the outcome definite.
    """

    store: Store
    ledger: Ledger
    catalog: Catalog
    auto_create: bool
    durability: Durability
    ledger_timeout_seconds: float

    async def reservation(self, reservation_id: str) -> Reservation | None:
        """The reservation as of now; a forgotten one as the ledger has it. None if there is none.

        Raises Postgres's Unavailable if the ledger has to be asked and is away.
        """
        with suppress(Unreadable):
            reservation = await self.store.reservation(reservation_id)
            if reservation is not None:
                return reservation
        recorded = await self.ledger.reservation(reservation_id)
        return recorded and as_of(recorded, await self.store.now_ms())

    async def hold(self, asked: HoldRequest, caller: Caller) -> Promise:
        """Held, Repeated, or why not. Raises Postgres's Unavailable if it has to be asked."""
        reservation_id = asked.reservation_id or _own_id(caller.key)
        channel = asked.channel or ""
        lines = await self._resolved(_lines(asked.lines), channel)
        command = commands.Hold(
            reservation_id=reservation_id,
            lines=lines,
            fingerprint=fingerprint(lines),
            ttl_ms=asked.ttl_seconds * 1000,
            channel=channel,
            customer_id=asked.customer_id or "",
            allow_partial=asked.allow_partial,
            traceparent=caller.traceparent,
        )
        outcome = await self._apply(command, asked.durability)
        return Promise(reservation_id, _checked(outcome, channel))

    async def replace(self, reservation_id: str, asked: ReplaceRequest, caller: Caller) -> Promise:
        """Held, Repeated, or why not. Raises Postgres's Unavailable if it has to be asked."""
        lines = await self._resolved(_lines(asked.lines), asked.channel or "")
        command = Replace(
            reservation_id=reservation_id,
            lines=lines,
            fingerprint=fingerprint(lines),
            ttl_ms=asked.ttl_seconds * 1000,
            channel=asked.channel,
            customer_id=asked.customer_id,
            allow_partial=asked.allow_partial,
            if_generation=asked.if_generation,
            key=caller.key,
            traceparent=caller.traceparent,
        )
        command, outcome = await self._apply_with_terms(
            command, self._renew_replace, asked.durability
        )
        channel = command.channel or command.terms_channel
        return Promise(reservation_id, _checked(outcome, channel))

    async def extend(self, reservation_id: str, asked: ExtendRequest, caller: Caller) -> Promise:
        """Changed, Repeated, NotFound, or WrongStatus if it is not held."""
        command = commands.Extend(
            reservation_id=reservation_id,
            ttl_ms=asked.ttl_seconds * 1000,
            key=caller.key,
            traceparent=caller.traceparent,
        )
        return Promise(reservation_id, await self._apply(command, "redis"))

    async def confirm(self, reservation_id: str, asked: ConfirmRequest, caller: Caller) -> Promise:
        """Confirmed, Repeated, NotFound, AlreadyConfirmed, WrongStatus or ReservationLost."""
        command = Confirm(
            reservation_id=reservation_id,
            order_id=asked.order_id,
            key=caller.key,
            traceparent=caller.traceparent,
        )
        _, outcome = await self._apply_with_terms(command, self._renew_confirm, asked.durability)
        return Promise(reservation_id, outcome)

    async def release(self, reservation_id: str, asked: ReleaseRequest, caller: Caller) -> Promise:
        """Changed, Repeated, NotFound or QuantityNotOpen."""
        command = commands.Release(
            reservation_id=reservation_id,
            lines=_units(asked.lines),
            reason=asked.reason,
            key=caller.key,
            traceparent=caller.traceparent,
        )
        return Promise(reservation_id, await self._apply(command, asked.durability))

    async def fulfil(self, reservation_id: str, asked: FulfilRequest, caller: Caller) -> Promise:
        """Changed, Repeated, NotFound, WrongStatus, QuantityNotOpen or UnknownName.

        Raises Postgres's Unavailable if the location named can't be looked up.
        """
        if asked.location is not None:
            await look_for(self.catalog, locations=[asked.location])
            if asked.location not in self.catalog.locations:
                return Promise(reservation_id, UnknownName("location", asked.location))
        command = commands.Fulfil(
            reservation_id=reservation_id,
            lines=_units(asked.lines),
            location=asked.location,
            shipment_id=asked.shipment_id,
            erp_document=asked.erp_document,
            key=caller.key,
            traceparent=caller.traceparent,
        )
        return Promise(reservation_id, await self._apply(command, asked.durability))

    async def no_pick(self, reservation_id: str, asked: NoPickRequest, caller: Caller) -> Promise:
        """Changed, Repeated, NotFound, WrongStatus or QuantityNotOpen."""
        command = commands.NoPick(
            reservation_id=reservation_id,
            line_id=asked.line_id,
            quantity=asked.quantity,
            reason=asked.reason,
            key=caller.key,
            traceparent=caller.traceparent,
        )
        return Promise(reservation_id, await self._apply(command, "redis"))

    async def _apply(self, command: commands.Command, durability: Durability | None) -> Outcome:
        """The outcome; with durability `ledger` once the ledger has it. A repeat waits too, since
        its caller relies on it. A refusal does not."""
        outcome = await self.store.apply(command)
        if (durability or self.durability) == "ledger" and isinstance(
            outcome, outcomes.Held | outcomes.Changed | outcomes.Confirmed | outcomes.Repeated
        ):
            await self.ledger.wait_for_answer(
                outcome.entry, outcome.reservation, self.ledger_timeout_seconds
            )
        return outcome

    async def _apply_with_terms(
        self,
        command: C,
        renew: Callable[[C, Reservation], Awaitable[C]],
        durability: Durability | None,
    ) -> tuple[C, Outcome]:
        """As `_apply`, with the terms that the script needs; and the command that it decided on."""
        outcome = await self._apply(command, durability)
        for _ in range(_TERMS_RESOLVED_AT_MOST):
            if not isinstance(outcome, outcomes.TermsNeeded):
                break
            command = await renew(command, outcome.reservation)
            outcome = await self._apply(command, durability)
        return command, outcome

    async def _renew_replace(self, command: Replace, reservation: Reservation) -> Replace:
        lines = await self._resolved(command.lines, reservation.channel)
        return structs.replace(command, terms_channel=reservation.channel, lines=lines)

    async def _renew_confirm(self, command: Confirm, reservation: Reservation) -> Confirm:
        lines = [
            LineTerms(line_id=line.line_id, sku=line.sku, location=line.location)
            for line in reservation.lines
        ]
        terms = commands.Terms(
            channel=reservation.channel,
            generation=reservation.generation,
            lines=await self._resolved(lines, reservation.channel),
        )
        return structs.replace(command, terms=terms)

    async def _resolved(self, lines: Sequence[L], channel: str) -> list[L]:
        """The lines with the policy that applies to them on the channel."""
        policies = await policies_of(
            self.catalog,
            channel,
            [(line.sku, line.location) for line in lines],
            auto_create=self.auto_create,
        )
        return [
            structs.replace(line, safety_stock=policy.safety_stock, refused=policy.refused)
            for line, policy in zip(lines, policies, strict=True)
        ]


def _checked(outcome: Outcome, channel: str) -> Outcome | UnknownName:
    """The outcome of a hold or replace; raises Postgres's Unavailable if it has to be asked."""
    match outcome:
        case outcomes.Refused([line, *_]) if line.refused in ("unasked", "unasked_channel"):
            raise Unavailable("the lines' names can't be looked up")
        case outcomes.Refused([line, *_]) if line.refused == "unknown_channel":
            return UnknownName("channel", channel)
        case _:
            return outcome


def _own_id(key: str | None) -> str:
    """A new reservation's id; made out of the key if there is one, so that a retry is safe."""
    if key is None:
        return f"r-{token_hex(12)}"
    return f"r-{blake2b(key.encode(), digest_size=12).hexdigest()}"


def _lines(asked: Sequence[LineRequest]) -> list[commands.HoldLine]:
    """A line without an id has its place as its id, from 1."""
    return [
        commands.HoldLine(
            line_id=line.line_id or str(place),
            sku=line.sku,
            location=line.location,
            quantity=line.quantity,
        )
        for place, line in enumerate(asked, 1)
    ]


def _units(lines: Sequence[LineUnitsRequest] | None) -> list[commands.LineUnits] | None:
    if lines is None:
        return None
    return [commands.LineUnits(line_id=line.line_id, quantity=line.quantity) for line in lines]
