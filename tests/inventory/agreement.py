"""The real script beside the model: the same histories, and after each batch the same everything.

A history is a list of batches over small pools of names, so that commands meet each other; each
batch first sets the clock, aimed at the edges of the deadlines that stand at that moment.
"""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from hypothesis import strategies as st
from redis import Redis

from atp_service.inventory.commands import (
    Adjustment,
    AnyCommand,
    Confirm,
    Count,
    Expire,
    Extend,
    Fulfil,
    Heartbeat,
    Hold,
    HoldLine,
    Incoming,
    Lapse,
    LineUnits,
    NoPick,
    Park,
    Receipt,
    Release,
    Replace,
    Return,
    SafetyStock,
    Sale,
    Shipment,
    StateChange,
    TransferReceived,
    TransferShipped,
    decode_command,
    encode_command,
    fingerprint,
)
from atp_service.inventory.journal import Entry, decode_head, entry_from_stream
from atp_service.inventory.model import ModelEntry, Partition, apply_batch
from atp_service.inventory.outcomes import Faulted, decode_outcome
from atp_service.inventory.reservations import decode_order, decode_reservation
from atp_service.inventory.stock import SEPARATOR, decode_level, level_field
from atp_service.store.keys import keys_of
from atp_service.store.script import join

HELD_CLOCK = "local function clock() return tonumber(redis.call('HGET', KEYS[8], 'clock')) end"
KEYS = keys_of(0)
START = 1_000_000
WINDOW_MS = 20_000

Aim = Literal["stay", "tick", "before", "at", "after", "last", "back", "window"]


@dataclass
class Step:
    """A batch, and where the clock stands for it."""

    aim: Aim
    promises_refused: bool
    commands: list[AnyCommand]


class Disagreement(AssertionError):
    """The script and the model differ, or an invariant does not hold."""


def decode(blob: bytes) -> Any:
    return msgspec.msgpack.decode(blob)


class Pair:
    """One partition twice: in Redis through the script, and in the model."""

    def __init__(self, redis: Redis, source: str) -> None:
        redis.flushdb()
        self.redis: Any = redis  # its types tell nothing of bytes or text
        self.script = self.redis.script_load(source)
        self.model = Partition(window_ms=WINDOW_MS)
        self.clock = START
        self.digest = ""
        self.images: dict[str, Any] = {}
        first: Any = {"epoch": 1, "seq": 0, "digest": "", "time": 0, "rotated_at": 0}
        self.redis.hset(KEYS.meta, mapping=first)

    def run(self, step: Step) -> None:
        self.clock = max(0, aimed(step.aim, self.clock, self.model))
        self.redis.hset(KEYS.meta, "clock", self.clock)
        commands = [with_moves(command, self.model) for command in step.commands]
        refused = "1" if step.promises_refused else "0"
        replies = self.redis.evalsha(
            self.script, len(KEYS), *KEYS, 1, refused, WINDOW_MS, *map(encode_command, commands)
        )
        seq = self.model.seq
        expected = apply_batch(
            self.model, commands, self.clock, promises_refused=step.promises_refused
        )
        for command, reply, wanted in zip(commands, replies, expected, strict=True):
            outcome = decode_outcome(reply)
            if isinstance(outcome, Faulted) and isinstance(wanted, Faulted):
                continue
            agree(f"the outcome of {command}", outcome, wanted)
        self.compare_state()
        self.compare_journal(self.model.journal[seq:])
        self.check_invariants()

    def compare_state(self) -> None:
        stock = self.hash(KEYS.stock)
        agree(
            "levels",
            {k: decode_level(v) for k, v in stock.items() if SEPARATOR in k},
            self.model.levels,
        )
        agree(
            "locations",
            {k: decode(v) for k, v in stock.items() if SEPARATOR not in k},
            self.model.locations,
        )
        reservations = {k: decode_reservation(v) for k, v in self.hash(KEYS.reservations).items()}
        agree("reservations", reservations, self.model.reservations)
        orders = {k: decode_order(v) for k, v in self.hash(KEYS.orders).items()}
        agree("orders", orders, self.model.orders)
        deadlines = self.redis.zrange(KEYS.deadlines, 0, -1, withscores=True)
        agree("deadlines", {m.decode(): int(at) for m, at in deadlines}, self.model.deadlines)
        agree("seen", set(self.hash(KEYS.seen)), self.model.seen)
        agree("seen before", set(self.hash(KEYS.seen_before)), self.model.seen_before)
        meta = self.hash(KEYS.meta)
        agree("seq", int(meta["seq"]), self.model.seq)
        agree("time", int(meta["time"]), self.model.time)
        feeds = {k[1:]: tuple(map(int, v.split(b":"))) for k, v in meta.items() if k[0] == "f"}
        agree("feeds", feeds, self.model.feeds)

    def compare_journal(self, expected: list[ModelEntry]) -> None:
        after = expected[0].seq - 1 if expected else self.model.seq
        messages = (
            self.redis.xrange(KEYS.journal, f"({after}-0", "+")
            if after
            else (self.redis.xrange(KEYS.journal, "-", "+"))
        )
        entries = [
            entry_from_stream(name, [x for pair in fields.items() for x in pair])
            for name, fields in messages
        ]
        agree("how many entries", len(entries), len(expected))
        for entry, wanted in zip(entries, expected, strict=True):
            agree("the digest", entry.digest, entry.digest_after(self.digest))
            self.digest = entry.digest
            agree(f"entry {wanted.seq}", decoded(entry), wanted)
            self.images.update(entry.images)
        agree("the partition's digest", self.hash(KEYS.meta)["digest"].decode(), self.digest)

    def check_invariants(self) -> None:
        """Entries fold to levels; what is promised is what live reservations say, to the unit."""
        for name, blob in self.hash(KEYS.stock).items():
            if SEPARATOR in name:
                agree(f"the entries' fold of {name!r}", self.images[f"l{name}"], blob)
        promised: dict[str, list[int]] = {}
        for reservation in self.model.reservations.values():
            for line in reservation.lines:
                if min(line.reserved, line.allocated, line.fulfilled, line.released) < 0:
                    raise Disagreement(f"a line below zero: {line}")
                sums = promised.setdefault(level_field(line.sku, line.location), [0, 0])
                sums[0] += line.reserved
                sums[1] += line.allocated
        for name, level in self.model.levels.items():
            agree(
                f"promises of {name!r}",
                [level.reserved, level.allocated],
                promised.get(name, [0, 0]),
            )

    def hash(self, key: str) -> dict[str, bytes]:
        return {name.decode(): value for name, value in self.redis.hgetall(key).items()}


def decoded(entry: Entry) -> ModelEntry:
    head = decode_head(entry.head)
    return ModelEntry(
        seq=entry.seq,
        at_ms=head.at_ms,
        kind=head.kind,
        command=decode_command(entry.command),
        on_hand_deltas=head.on_hand_deltas,
        opened=head.opened,
        settled=head.settled,
        levels={level_field(sku, location): level for sku, location, level in entry.levels()},
        reservations=dict(entry.reservations()),
        orders=dict(entry.orders()),
    )


def agree(what: str, real: object, model: object) -> None:
    if real != model:
        raise Disagreement(f"{what}\n  script: {real}\n  model:  {model}")


def aimed(aim: Aim, clock: int, model: Partition) -> int:
    """Where the clock goes: the edges are one millisecond before, at and after a deadline."""
    due = sorted(at for at in model.deadlines.values() if at > clock) or [clock + 1]
    match aim:
        case "stay":
            return clock
        case "tick":
            return clock + 1
        case "before":
            return due[0] - 1
        case "at":
            return due[0]
        case "after":
            return due[0] + 1
        case "last":
            return due[-1]
        case "back":
            return clock - 5_000
        case "window":
            return max(clock, model.rotated_at + model.window_ms)


def with_moves(command: AnyCommand, model: Partition) -> AnyCommand:
    """A count says what it read of the level's moves; -1 stands for the truth."""
    if isinstance(command, Count) and command.moves == -1:
        level = model.levels.get(level_field(command.sku, command.location))
        return msgspec.structs.replace(command, moves=level.moves if level else 0)
    return command


def play(redis: Redis, source: str, history: list[Step]) -> None:
    """Raises Disagreement where the script and the model part."""
    pair = Pair(redis, source)
    for step in history:
        pair.run(step)


def script_in_hand() -> str:
    return join(HELD_CLOCK)


# The generators: small pools, and quantities around what is there.

skus = st.sampled_from(["A", "B"])
places = st.sampled_from(["DC", "DC", "S1"])
quantities = st.sampled_from([1, 1, 2, 3])
reservation_ids = st.sampled_from(["r1", "r1", "r2", "r3"])
order_ids = st.sampled_from(["o1", "o2"])
line_ids = st.sampled_from(["1", "1", "2", "3"])
shipments = st.sampled_from([None, None, "s1", "s2"])
documents = st.sampled_from(["PO1", "T1"])
states = st.sampled_from(["sellable", "damaged", "quarantine"])
caller_keys = st.sampled_from([None, None, None, "k1", "k2"])
ttls = st.sampled_from([1_000, 2_000, 7_000])
times = st.integers(START - 6, START + 20_000) | st.sampled_from([START, START + 1_000])

hold_lines = st.lists(
    st.builds(
        HoldLine,
        line_id=line_ids,
        sku=skus,
        location=places,
        quantity=quantities,
        safety_stock=st.sampled_from([0, 0, 1]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda line: line.line_id,
)
some_lines = st.none() | st.lists(
    st.builds(LineUnits, line_id=line_ids, quantity=st.integers(1, 3)),
    min_size=1,
    max_size=2,
    unique_by=lambda line: line.line_id,
)


def _fact(kind: Any, **members: Any) -> st.SearchStrategy[Any]:
    return st.builds(
        kind,
        source=st.sampled_from(["pos/1", "wms/1"]),
        event_id=st.integers(1, 60).map(str),
        occurred_at_ms=times,
        **members,
    )


@st.composite
def _hold(draw: st.DrawFn, kind: Any) -> AnyCommand:
    lines = draw(hold_lines)
    more: dict[str, Any] = {}
    if kind is Replace:
        more = {
            "if_generation": draw(st.sampled_from([None, None, 1, 2])),
            "key": draw(caller_keys),
        }
    command: AnyCommand = kind(
        reservation_id=draw(reservation_ids),
        lines=lines,
        fingerprint=fingerprint(lines),
        ttl_ms=draw(ttls),
        channel=draw(st.sampled_from(["web", "web", "web", ""])),
        customer_id=draw(st.sampled_from(["", "", "c1"])),
        allow_partial=draw(st.sampled_from([False, False, True])),
        **more,
    )
    return command


_simple_hold = st.builds(
    lambda name, sku, place, quantity, ttl: Hold(
        reservation_id=name,
        lines=(lines := [HoldLine(line_id="1", sku=sku, location=place, quantity=quantity)]),
        fingerprint=fingerprint(lines),
        ttl_ms=ttl,
    ),
    reservation_ids,
    skus,
    places,
    quantities,
    ttls,
)
_stocked = _fact(
    Receipt, sku=skus, location=places, quantity=st.integers(1, 6), document=st.none() | documents
)
_sale: dict[str, Any] = {
    "sku": skus,
    "location": places,
    "quantity": quantities,
    "order_id": st.none() | order_ids,
    "reservation_id": st.none() | reservation_ids,
    "shipment_id": shipments,
}
_confirm = st.builds(Confirm, reservation_id=reservation_ids, order_id=order_ids, key=caller_keys)

promises: st.SearchStrategy[AnyCommand] = st.one_of(
    _simple_hold,
    _simple_hold,
    _hold(Hold),
    _hold(Replace),
    _confirm,
    _confirm,
    _confirm,
    st.builds(Extend, reservation_id=reservation_ids, ttl_ms=ttls, key=caller_keys),
    st.builds(Release, reservation_id=reservation_ids, lines=some_lines, key=caller_keys),
    st.builds(
        Fulfil,
        reservation_id=reservation_ids,
        lines=some_lines,
        location=st.none() | places,
        shipment_id=shipments,
        key=caller_keys,
    ),
    st.builds(
        NoPick,
        reservation_id=reservation_ids,
        line_id=line_ids,
        quantity=st.integers(1, 2),
        reason=st.sampled_from(["not_in_stock", "mismatch", "damaged", "display_worn"]),
        key=caller_keys,
    ),
    _fact(Sale, **_sale),
    _fact(Shipment, **_sale),
)
facts: st.SearchStrategy[AnyCommand] = st.one_of(
    _stocked,
    st.builds(Expire, limit=st.sampled_from([1, 2, 100])),
    st.builds(Lapse, reservation_id=reservation_ids),
    _fact(
        Return,
        sku=skus,
        location=places,
        quantity=quantities,
        disposition=st.sampled_from(["restock", "damaged", "quality_control", "in_transit"]),
        document=documents,
    ),
    _fact(
        TransferShipped,
        sku=skus,
        from_location=places,
        to_location=places,
        quantity=quantities,
        document=documents,
        eta=st.sampled_from([None, "2026-12-01"]),
    ),
    _fact(TransferReceived, sku=skus, to_location=places, quantity=quantities, document=documents),
    _fact(
        Adjustment,
        sku=skus,
        location=places,
        quantity=st.integers(-5, 5).filter(bool),
    ),
    _fact(
        Count,
        sku=skus,
        location=places,
        quantity=st.integers(0, 8),
        deltas_after=st.integers(-2, 2),
        moves=st.sampled_from([-1, -1, -1, 1]),
    ),
    _fact(
        StateChange,
        sku=skus,
        location=places,
        quantity=st.integers(1, 2),
        from_state=states,
        to_state=states,
    ),
    _fact(
        Incoming,
        sku=skus,
        location=places,
        quantity=st.integers(0, 6),
        document=documents,
        eta=st.sampled_from([None, "2026-12-02"]),
    ),
    _fact(Heartbeat),
    st.builds(
        SafetyStock,
        sku=skus,
        location=places,
        safety_stock=st.sampled_from([None, 0, 1, 2]),
        key=caller_keys,
    ),
    _fact(
        Park,
        reason=st.just("unknown-sku"),
        owner=st.just("integration"),
        subject=st.just("X"),
        detail=st.just(""),
        payload=st.just("{}"),
    ),
)

aims = st.sampled_from(
    ["stay"] * 6
    + ["tick"] * 3
    + ["before", "before", "at", "at", "after", "last", "back", "window"]
)
steps = st.builds(
    Step,
    aim=aims,
    promises_refused=st.sampled_from([False] * 19 + [True]),
    commands=st.lists(promises | promises | facts, min_size=1, max_size=5),
)


@st.composite
def _histories(draw: st.DrawFn) -> list[Step]:
    """Something on every shelf and two carts, then anything."""
    opening: list[AnyCommand] = [
        Receipt(
            source="wms/0",
            event_id=f"{sku}{place}",
            occurred_at_ms=START - 10,
            sku=sku,
            location=place,
            quantity=draw(st.integers(1, 8)),
        )
        for sku in ("A", "B")
        for place in ("DC", "S1")
    ]
    carts = [draw(_hold(Hold)), draw(_simple_hold)]
    following = draw(st.lists(steps, min_size=4, max_size=14))
    return [Step("stay", False, opening + carts), *following]


histories = _histories()
