"""A sale written by hand, twice: as the ledger has it, and as the buyers remember it."""

from collections.abc import Iterable

import msgspec

from atp_service.inventory.commands import Command, Confirm, Hold, HoldLine, Receipt
from atp_service.inventory.commands import Sale as TillSale
from atp_service.inventory.journal import Entry
from atp_service.inventory.reservations import Line as Held
from atp_service.inventory.reservations import Reservation
from atp_service.inventory.stock import StockLevel
from atp_service.ledger import Batch, lease
from atp_service.rehearse.audit import Audit, audit
from atp_service.rehearse.history import Call, CallKind, History
from atp_service.rehearse.journey import CartLine
from atp_service.rehearse.ledger_fold import Finding, fold
from atp_service.rehearse.ledger_reader import LedgerReader, Projections
from atp_service.rehearse.run_names import RunNames
from tests.ledger.forged_rows import NOON, Writer

NAMES = RunNames("sale-1", ["sale-1-sale-1"], ["sale-1-every-1"])
SKU = NAMES.sale[0]
HOLD_SECONDS = 900
_images = msgspec.msgpack.Encoder().encode


class Sale:
    """Each step is recorded, and answered to whoever asked, unless said otherwise."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.history = History(
            names=NAMES,
            started_at=NOON / 1000,
            clock_at=0.0,
            hold_seconds=HOLD_SECONDS,
            received={},
        )
        self._writer = Writer()
        self._levels: dict[tuple[str, str], StockLevel] = {}
        self._reservations: dict[str, Reservation] = {}
        self._at = 0.0

    def receive(self, units: int, sku: str = SKU) -> None:
        """What the sale begins with."""
        self.history.received[sku] = units
        self._fact(Receipt, NAMES.warehouse, f"delivery-{sku}", sku, NAMES.shop, units, units)

    def hold(self, buyer: int, units: int = 1, *, recorded: bool = True, told: bool = True) -> None:
        name = f"{NAMES.run}-{buyer}"
        if recorded:
            line = Held("1", SKU, NAMES.shop, units, reserved=units)
            before = self._reservations.get(name)
            if before is not None:
                line.reserved += before.lines[0].reserved
            reservation = self._reservation("held", line)
            command = Hold(
                reservation_id=name,
                lines=[HoldLine(line_id="1", sku=SKU, location=NAMES.shop, quantity=units)],
                fingerprint="",
                ttl_ms=HOLD_SECONDS * 1000,
            )
            self._reservations[name] = reservation
            self._entry(command, SKU, NAMES.shop, name, reserved=units)
        self._tell("hold", name, units, 201 if told else 0)

    def confirm(self, buyer: int, *, recorded: bool = True) -> None:
        name = f"{NAMES.run}-{buyer}"
        held = self._reservations[name].lines[0]
        if recorded:
            units = held.reserved
            line = Held("1", SKU, NAMES.shop, held.quantity, allocated=units)
            self._reservations[name] = self._reservation("confirmed", line, f"{name}-order")
            command = Confirm(reservation_id=name, order_id=f"{name}-order")
            self._entry(command, SKU, NAMES.shop, name, reserved=-units, allocated=units)
        self._tell("confirm", name, held.quantity, 200)

    def till_sells(self, number: int, units: int = 1, *, recorded: int = 1) -> None:
        """At the store; `recorded` so many times."""
        sku, event_id = NAMES.everyday[0], f"till-{number}"
        for _ in range(recorded):
            self._fact(TillSale, NAMES.till, event_id, sku, NAMES.store, units, -units)
        self._tell("sale", event_id, units, 200, sku, "applied")

    def loses(self, units: int, *, delta: int = 0) -> None:
        """on_hand falls by `units`, and the entry says `delta`."""
        name = next(iter(self._reservations))
        command = Confirm(reservation_id=name, order_id="nobody's")
        self._entry(command, SKU, NAMES.shop, "", on_hand=-units, delta=delta)

    async def record(self, url: str) -> None:
        async with lease(url, 0, slice_size=1000) as appender:
            assert appender is not None
            batch = Batch(appender.partition, appender.position)
            for entry in self.entries:
                batch.add(entry)
            await appender.append(batch)

    async def audited(self, url: str) -> Audit:
        """Recorded in a real ledger, and read back."""
        await self.record(url)
        return self.audited_again(url)

    def audited_again(self, url: str, redis: Iterable[Finding] = ()) -> Audit:
        folded, projections = LedgerReader(url).run(NAMES, {})
        return audit(self.history, folded, projections, redis)

    def audited_unrecorded(self) -> Audit:
        """For entries that no real ledger would take in: only the entries are read."""
        rows = [(e.seq, e.command, e.head, _images(e.images)) for e in self.entries]
        folded = fold(rows, NAMES)
        levels = {key: level.figures for key, level in folded.levels.items()}
        projections = Projections(
            levels=levels,
            moved={key: figures[0] for key, figures in levels.items()},
            reservations={name: found.image for name, found in folded.reservations.items()},
        )
        return audit(self.history, folded, projections, ())

    def _fact(
        self,
        kind: type[Receipt] | type[TillSale],
        source: str,
        event_id: str,
        sku: str,
        location: str,
        quantity: int,
        change: int,
    ) -> None:
        command = kind(
            source=source,
            event_id=event_id,
            occurred_at_ms=NOON,
            sku=sku,
            location=location,
            quantity=quantity,
        )
        self._entry(command, sku, location, "", on_hand=change, delta=change)

    def _entry(
        self,
        command: Command,
        sku: str,
        location: str,
        reservation_id: str,
        *,
        on_hand: int = 0,
        reserved: int = 0,
        allocated: int = 0,
        delta: int = 0,
    ) -> None:
        before = self._levels.get((sku, location), StockLevel())
        level = StockLevel(
            before.on_hand + on_hand,
            before.reserved + reserved,
            before.allocated + allocated,
            before.version + 1,
        )
        self._levels[sku, location] = level
        reservations = (
            {reservation_id: self._reservations[reservation_id]} if reservation_id else None
        )
        self.entries.append(
            self._writer.write(
                command,
                levels=[(sku, location, level)],
                deltas=[delta] if delta else [],
                reservations=reservations,
            )
        )

    def _reservation(self, status: str, line: Held, order_id: str = "") -> Reservation:
        return Reservation(
            status=status,  # type: ignore[arg-type]  # one of them, as the callers know
            generation=1,
            channel="",
            customer_id="",
            order_id=order_id,
            created_at=NOON,
            expires_at=NOON + HOLD_SECONDS * 1000,
            closed_at=0,
            kept_until=0,
            fingerprint="",
            outcome="",
            seq=len(self.entries) + 1,
            lines=[line],
        )

    def _tell(
        self,
        kind: CallKind,
        reference: str,
        units: int,
        status: int,
        sku: str = SKU,
        outcome: str = "",
    ) -> None:
        self._at += 1
        self.history.calls.append(call(kind, reference, self._at, units, status, sku, outcome))


def call(
    kind: CallKind,
    reference: str,
    at: float,
    units: int = 1,
    status: int = 201,
    sku: str = SKU,
    outcome: str = "",
) -> Call:
    """A call that was due, sent and answered within half a second."""
    return Call(
        kind=kind,
        reference=reference,
        cart=(CartLine(sku, units),),
        phase="plateau",
        due=at,
        woken=at,
        sent=at,
        answered=at + 0.5,
        status=status,
        outcome=outcome,
        generation=1,
    )
