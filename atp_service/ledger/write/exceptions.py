"""The exceptions that entries open and settle, and those of a batch: counted by cause and key."""

from collections.abc import Iterator, Sequence

from msgspec import DecodeError, Struct
from msgspec.msgpack import Decoder

from atp_service.inventory.commands import Park, decode_command
from atp_service.inventory.journal import DecodedEntry, Notice
from atp_service.inventory.notices import DRIFT, owner_of
from atp_service.ledger.write.repair_words import of_repair
from atp_service.postgres.binary import as_text, bigint, text, timestamp

_DETAIL_CHARACTERS = 2000
_REFERENCE_CHARACTERS = 200  # a reference is part of an index's key, and those are bounded
_decode_park = Decoder(Park).decode

Key = tuple[str, str, str, str, str]  # kind, owner, sku, location, reference


class ExceptionStep(Struct, frozen=True):
    """An entry opens an exception or counts one more of it, or settles it. Texts are as Postgres
    keeps them."""

    key: Key
    opens: bool
    seq: int
    at_ms: int
    units: int | None
    detail: str


def exception_steps(decoded: DecodedEntry) -> Sequence[ExceptionStep]:
    """The entry's steps, in order. Raises msgspec's DecodeError if a parked message can't be
    read."""
    head = decoded.head
    if not head.opened and not head.settled and head.kind != "park":
        return ()
    return list(_steps(decoded))


def _steps(decoded: DecodedEntry) -> Iterator[ExceptionStep]:
    seq, head, command = decoded.entry.seq, decoded.head, decoded.entry.command
    if head.kind == "park":
        park = _decode_park(command)
        yield ExceptionStep(key_of_park(park), True, seq, head.at_ms, None, detail_of(park))
    for notice in head.opened:
        detail = _difference(command) if notice.kind == DRIFT else ""
        yield ExceptionStep(_key_of_notice(notice), True, seq, head.at_ms, notice.units, detail)
    for notice in head.settled:
        yield ExceptionStep(_key_of_notice(notice), False, seq, head.at_ms, notice.units, "")


class _Case(Struct):
    """What a batch adds to one exception; without a count it only settles an open one."""

    count: int
    first: ExceptionStep
    last: ExceptionStep
    detail: str


class Cases:
    """The exceptions that a batch opens, counts and settles."""

    def __init__(self) -> None:
        self._cases: dict[Key, _Case] = {}

    def add(self, step: ExceptionStep) -> None:
        case = self._cases.setdefault(step.key, _Case(0, step, step, ""))
        if step.opens:
            if case.count == 0:
                case.first = step
            case.count += 1
            case.detail = step.detail
        case.last = step

    def rows(self) -> list[tuple[bytes, ...]]:
        """The rows of `tables.EXCEPTIONS` without the partition."""
        return [
            (
                bigint(case.first.seq),
                bigint(case.last.seq),
                *map(text, key),
                text("open" if case.last.opens else "settled"),
                bigint(case.last.units),
                text(case.detail),
                bigint(case.count),
                timestamp(case.first.at_ms),
                timestamp(case.last.at_ms),
                timestamp(None if case.last.opens else case.last.at_ms),
            )
            for key, case in self._cases.items()
        ]


def key_of_park(park: Park) -> Key:
    """A message that cannot be applied is one exception by its reason, owner and subject."""
    return _key(park.reason, park.owner, "", "", park.subject)


def detail_of(park: Park) -> str:
    """The message's detail, as far as it is kept."""
    return as_text(park.detail[:_DETAIL_CHARACTERS])


def _key_of_notice(notice: Notice) -> Key:
    owner = owner_of(notice.kind)
    return _key(notice.kind, owner, notice.sku, notice.location, notice.reference)


def _key(kind: str, owner: str, sku: str, location: str, reference: str) -> Key:
    kept = reference[:_REFERENCE_CHARACTERS]
    return as_text(kind), as_text(owner), as_text(sku), as_text(location), as_text(kept)


def _difference(command: bytes) -> str:
    """What a repair set right, in words, as far as they are kept."""
    try:
        return as_text(of_repair(decode_command(command))[:_DETAIL_CHARACTERS])
    except DecodeError:
        return ""  # of another version: its images have what it did
