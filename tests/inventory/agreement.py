"""The real script beside the model: the same histories, and after each batch the same everything.

A history is a list of batches over small pools of names, so that commands meet each other; each
batch first sets the clock, aimed at the edges of the deadlines that stand at that moment.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
from redis import Redis

from atp_service.inventory.commands import (
    AnyCommand,
    Confirm,
    Count,
    LineTerms,
    RepairLevel,
    RepairOrder,
    RepairReservation,
    Snapshot,
    Terms,
    decode_command,
    encode_command,
)
from atp_service.inventory.fold import Folded
from atp_service.inventory.journal import Entry, decode_entry, entry_from_stream
from atp_service.inventory.model import ModelEntry, Partition, apply_batch
from atp_service.inventory.outcomes import Faulted, Outcome, decode_outcome
from atp_service.inventory.reservations import Order, Reservation, decode_order, decode_reservation
from atp_service.inventory.stock import SEPARATOR, Extras, StockLevel, decode_level, level_field
from atp_service.store.keys import keys_of
from atp_service.store.script import join

T = TypeVar("T")

HELD_CLOCK = "local function clock() return tonumber(redis.call('HGET', KEYS[8], 'clock')) end"
PARTITION, EPOCH = 0, 1
KEYS = keys_of(PARTITION)
START = 1_000_000
WINDOW_MS = 20_000
RIGHT = "~"  # the channel of drawn terms that are made for the reservation's own

Aim = Literal["stay", "tick", "before", "at", "after", "last", "back", "window"]


@dataclass(frozen=True)
class Damage:
    """What somebody does to a value behind the script's back; `image` names it as an entry does,
    `i<sku>` is a SKU's list of locations, and `d<member>` a deadline.
    """

    image: str
    how: Literal["gone", "unreadable", "other"]
    units: int = 0


@dataclass(frozen=True)
class Mend:
    """A repair, made out of what is there when it is sent, or was there at the last damage."""

    image: str
    found: Literal["now", "then", "nothing"] = "now"
    right: Literal["then", "now", "nothing"] = "then"


@dataclass
class Step:
    """A batch, and where the clock stands for it."""

    aim: Aim
    promises_refused: bool
    commands: Sequence[AnyCommand | Mend]
    damages: Sequence[Damage] = ()


Value = StockLevel | Reservation | Order | list[str]


class Disagreement(AssertionError):
    """The script and the model differ, or an invariant does not hold."""


def decode(blob: bytes) -> Any:
    return msgspec.msgpack.decode(blob)


class Kept(NamedTuple):
    """What stands in Redis after a batch, and the entries the batch wrote."""

    stock: dict[str, bytes]
    reservations: dict[str, bytes]
    orders: dict[str, bytes]
    deadlines: dict[str, int]
    seen: set[str]
    seen_before: set[str]
    meta: dict[str, bytes]
    entries: list[Entry]


class Pair:
    """One partition twice: in Redis through the script, and in the model."""

    def __init__(self, redis: Redis, source: str) -> None:
        redis.flushdb()
        self.redis: Any = redis  # its types tell nothing of bytes or text
        self.script = self.redis.script_load(source)
        self.model = Partition(PARTITION, window_ms=WINDOW_MS)
        self.clock = START
        self.digest = ""
        self.folded = Folded()
        self.found: dict[str, Value | None] = {}  # at the last damage
        self.right: dict[str, Value | None] = {}  # just before it
        self.was_damaged = False
        self.rotated_before = 0
        first: Any = {"format": 1, "epoch": 1, "seq": 0, "digest": "", "time": 0, "rotated_at": 0}
        self.redis.hset(KEYS.meta, mapping=first)

    def run(self, step: Step) -> list[Outcome]:
        """Raises Disagreement where the script and the model part."""
        self.clock = max(0, aimed(step.aim, self.clock, self.model))
        for damage in step.damages:
            self.damage(damage)
        commands = [self.completed(command) for command in step.commands]
        refused = "1" if step.promises_refused else "0"
        seq, rotated_at = self.model.seq, self.model.rotated_at
        replies, kept = self.sent(refused, commands)
        expected = apply_batch(
            self.model, commands, self.clock, promises_refused=step.promises_refused
        )
        if self.model.rotated_at > rotated_at:
            self.rotated_before = rotated_at
        for command, reply, wanted in zip(commands, replies, expected, strict=True):
            outcome = decode_outcome(reply, PARTITION, EPOCH)
            if isinstance(outcome, Faulted) and isinstance(wanted, Faulted):
                continue
            agree(f"the outcome of {command}", outcome, wanted)
        self.compare_state(kept)
        self.compare_journal(kept, self.model.journal[seq:])
        self.check_invariants(kept)
        return expected

    def sent(self, refused: str, commands: list[AnyCommand]) -> tuple[list[bytes], Kept]:
        """The script's replies, and what stands then: one round trip for all of it."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.hset(KEYS.meta, "clock", self.clock)
        pipe.evalsha(
            self.script, len(KEYS), *KEYS, 1, 1, refused, WINDOW_MS, *map(encode_command, commands)
        )
        for key in (KEYS.stock, KEYS.reservations, KEYS.orders):
            pipe.hgetall(key)
        pipe.zrange(KEYS.deadlines, 0, -1, withscores=True)
        for key in (KEYS.seen, KEYS.seen_before, KEYS.meta):
            pipe.hgetall(key)
        pipe.xrange(KEYS.journal, f"({self.model.seq}-0" if self.model.seq else "-", "+")
        _, replies, stock, reservations, orders, deadlines, seen, seen_before, meta, entries = (
            pipe.execute()
        )
        return replies, Kept(
            named(stock),
            named(reservations),
            named(orders),
            {member.decode(): int(at) for member, at in deadlines},
            set(named(seen)),
            set(named(seen_before)),
            named(meta),
            [
                entry_from_stream(name, [x for pair in fields.items() for x in pair])
                for name, fields in entries
            ],
        )

    def damage(self, damage: Damage) -> None:
        """The same in Redis and in the model."""
        self.was_damaged = True
        image, name = damage.image, damage.image[1:]
        if image[0] == "d":
            if damage.how == "gone":
                self.redis.zrem(KEYS.deadlines, name)
                self.model.deadlines.pop(name, None)
            else:
                at = self.clock + damage.units * 1_000
                self.redis.zadd(KEYS.deadlines, {name: at})
                self.model.deadlines[name] = at
            return
        key, kept = self.place_of(image)
        if image not in self.model.damaged:
            self.right[image] = self.value_now(image)
        was = kept.pop(name, None)
        self.model.damaged.discard(image)
        blob: bytes | None = self.redis.hget(key, name)
        if damage.how == "gone" or blob is None:
            self.redis.hdel(key, name)
        elif damage.how == "unreadable" or was is None:
            self.redis.hset(key, name, unreadable(blob, damage.units))
            self.model.damaged.add(image)
        else:
            kept[name] = other(was, damage.units)
            self.redis.hset(key, name, msgspec.msgpack.encode(kept[name]))
        self.found[image] = self.value_now(image)

    def place_of(self, image: str) -> tuple[str, dict[str, Any]]:
        """Where the value stands: the key in Redis, and in the model."""
        match image[0]:
            case "r":
                return KEYS.reservations, self.model.reservations
            case "o":
                return KEYS.orders, self.model.orders
            case "i":
                return KEYS.stock, self.model.locations
        return KEYS.stock, self.model.levels

    def value_now(self, image: str) -> "Value | None":
        """A copy of the value as it can be read."""
        _, kept = self.place_of(image)
        return copy.deepcopy(kept.get(image[1:]))

    def completed(self, command: AnyCommand | Mend) -> AnyCommand:
        """As it is sent: with what whoever sends it has read before."""
        if not isinstance(command, Mend):
            return with_what_was_read(command, self.model)
        image, name = command.image, command.image[1:]
        now = self.value_now(image)
        found: Any = {"now": now, "then": self.found.get(image), "nothing": None}[command.found]
        right: Any = {"now": now, "then": self.right.get(image, now), "nothing": None}[
            command.right
        ]
        if image[0] == "l":
            sku, _, location = name.partition(SEPARATOR)
            return RepairLevel(sku=sku, location=location, found=found, right=right)
        if image[0] == "o":
            return RepairOrder(order_id=name, found=found, right=right)
        seq = found.seq if found else None
        return RepairReservation(reservation_id=name, found_seq=seq, right=right)

    def compare_state(self, kept: Kept) -> None:
        damaged = self.model.damaged
        levels = {
            k: decode_level(v)
            for k, v in kept.stock.items()
            if SEPARATOR in k and f"l{k}" not in damaged
        }
        agree("levels", levels, self.model.levels)
        lists = {
            k: decode(v)
            for k, v in kept.stock.items()
            if SEPARATOR not in k and f"i{k}" not in damaged
        }
        agree("locations", lists, self.model.locations)
        reservations = {
            k: decode_reservation(v) for k, v in kept.reservations.items() if f"r{k}" not in damaged
        }
        agree("reservations", reservations, self.model.reservations)
        orders = {k: decode_order(v) for k, v in kept.orders.items() if f"o{k}" not in damaged}
        agree("orders", orders, self.model.orders)
        agree("deadlines", kept.deadlines, self.model.deadlines)
        agree("seen", kept.seen, self.model.seen)
        agree("seen before", kept.seen_before, self.model.seen_before)
        agree("seq", int(kept.meta["seq"]), self.model.seq)
        agree("time", int(kept.meta["time"]), self.model.time)
        feeds = {
            k[2:]: tuple(map(int, v.split(b":"))) for k, v in kept.meta.items() if k[:2] == "f:"
        }
        agree("feeds", feeds, self.model.feeds)

    def compare_journal(self, kept: Kept, expected: list[ModelEntry]) -> None:
        agree("how many entries", len(kept.entries), len(expected))
        for entry, wanted in zip(kept.entries, expected, strict=True):
            agree("the digest", entry.digest, entry.digest_after(self.digest))
            self.digest = entry.digest
            agree(f"entry {wanted.seq}", decoded(entry), wanted)
            self.folded.take(entry)
        agree("the partition's digest", kept.meta["digest"].decode(), self.digest)

    def check_invariants(self, kept: Kept) -> None:
        """Entries fold to levels; what is promised is what live reservations say, to the unit.

        Not where somebody has been at it.
        """
        if self.was_damaged:
            return
        folded = self.folded
        agree("the journal's stock", kept.stock, folded.stock)
        agree("the journal's reservations", kept.reservations, folded.reservations)
        agree("the journal's orders", kept.orders, folded.orders)
        agree("the journal's deadlines", kept.deadlines, folded.deadlines)
        now, before = int(kept.meta["rotated_at"]), self.rotated_before
        agree("the window's marks", kept.seen, marks(folded, now, None))
        agree("the marks of the window before", kept.seen_before, marks(folded, before, now))
        ends = [str(end).encode() for end in (folded.seq, folded.digest, folded.time)]
        agree("where it ends", [kept.meta[name] for name in ("seq", "digest", "time")], ends)
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


def named(fields: dict[bytes, bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in fields.items()}


def decoded(entry: Entry) -> ModelEntry:
    parts = decode_entry(entry, decode_command(entry.command))
    head = parts.head
    return ModelEntry(
        seq=entry.seq,
        at_ms=head.at_ms,
        kind=head.kind,
        command=decode_command(entry.command),
        on_hand_deltas=head.on_hand_deltas,
        status=head.status,
        marks=head.marks,
        opened=head.opened,
        settled=head.settled,
        noted=head.noted,
        levels=images(entry, "l", decode_level),
        reservations=images(entry, "r", decode_reservation),
        orders=images(entry, "o", decode_order),
    )


def images(entry: Entry, kind: str, decode: Callable[[bytes], T]) -> dict[str, T | None]:
    return {
        name[1:]: None if image is None else decode(image)
        for name, image in entry.images
        if name[0] == kind
    }


def marks(folded: Folded, since: int, until: int | None) -> set[str]:
    """Those of the entries from `since` on and before `until`."""
    return {m for m, at in folded.marks.items() if since <= at and (until is None or at < until)}


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


def with_what_was_read(command: AnyCommand, model: Partition) -> AnyCommand:
    """A count or snapshot says what it read of the level's moves; -1 stands for the truth. A
    snapshot's units are around what the level has. A confirm's terms are made for the reservation.
    """
    if isinstance(command, Confirm) and command.terms is not None:
        known = model.reservations.get(command.reservation_id)
        return msgspec.structs.replace(command, terms=known and made_for(known, command.terms))
    if not isinstance(command, Count | Snapshot) or command.moves != -1:
        return command
    level = model.levels.get(level_field(command.sku, command.location)) or StockLevel()
    if isinstance(command, Snapshot):
        command = msgspec.structs.replace(
            command, quantity=max(0, level.on_hand + command.quantity - 3)
        )
    return msgspec.structs.replace(command, moves=level.moves)


def made_for(known: Reservation, drawn: Terms) -> Terms:
    """Terms for the reservation, but for the channel and the generations that they are late by."""
    policies = drawn.lines or [LineTerms(line_id="", sku="", location="")]
    return Terms(
        channel=known.channel if drawn.channel == RIGHT else drawn.channel,
        generation=known.generation - drawn.generation,
        lines=[
            msgspec.structs.replace(
                policies[place % len(policies)],
                line_id=line.line_id,
                sku=line.sku,
                location=line.location,
            )
            for place, line in enumerate(known.lines)
        ],
    )


def unreadable(blob: bytes, way: int) -> bytes:
    """Nothing that was ever packed: cut off, more than one value, no value, another value."""
    texts = b"\x97" + 6 * b"\xa1x" + b"\x01"  # and a number, or a list of locations might be so
    ways = [blob[:-1], blob + b"\x01", b"", b"*", texts, b"\x92\xc0\x90", b"\xc1"]
    return ways[way % len(ways)]


def other(value: Any, units: int) -> Any:
    """As it might have been, had somebody meant it well."""
    match value:
        case StockLevel():
            ways: list[dict[str, Any]] = [
                {"on_hand": value.on_hand + units},
                {"on_hand": -units},
                {"reserved": value.reserved + units},
                {"allocated": value.allocated + 1, "on_hand": value.on_hand + 2},
                {"version": max(1, value.version + units - 2)},
                {"extras": Extras(safety_stock=1)},
            ]
            return msgspec.structs.replace(value, **ways[units % len(ways)])
        case Reservation():
            return msgspec.structs.replace(
                value, expires_at=value.expires_at + units * 1_000, channel=f"ch{units}"
            )
        case Order():
            return Order([*value.reservations, "r9"], value.early[:-1], value.kept_until)
    return [*value, "DC"] if units % 2 else value[1:]


def play(redis: Redis, source: str, history: list[Step]) -> None:
    """Raises Disagreement where the script and the model part."""
    pair = Pair(redis, source)
    for step in history:
        pair.run(step)


def script_in_hand() -> str:
    return join(HELD_CLOCK)
