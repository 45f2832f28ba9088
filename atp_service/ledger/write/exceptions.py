"""Exceptions in a batch: counted by cause and key, whatever number of entries speak of them."""

from msgspec import Struct

from atp_service.inventory.commands import Park
from atp_service.inventory.journal import Notice
from atp_service.inventory.notices import owner_of
from atp_service.postgres.binary import bigint, text, timestamp

DETAIL_CHARACTERS = 2000
_REFERENCE_CHARACTERS = 200  # a reference is part of an index's key, and those are bounded

Key = tuple[str, str, str, str, str]  # kind, owner, sku, location, reference


class Case(Struct):
    """What a batch adds to one exception; without a count it only settles what is open."""

    count: int
    open: bool
    units: int | None
    detail: str
    first_at_ms: int
    first_seq: int
    last_at_ms: int
    last_seq: int


class Cases:
    """The exceptions that a batch opens, counts and settles."""

    def __init__(self) -> None:
        self._cases: dict[Key, Case] = {}

    def open(self, notice: Notice, detail: str, seq: int, at_ms: int) -> None:
        self._count(key_of_notice(notice), seq, at_ms, notice.units, detail)

    def park(self, park: Park, seq: int, at_ms: int) -> None:
        self._count(key_of_park(park), seq, at_ms, None, detail_of(park))

    def settle(self, notice: Notice, seq: int, at_ms: int) -> None:
        case = self._cases.setdefault(
            key_of_notice(notice), Case(0, False, notice.units, "", at_ms, seq, at_ms, seq)
        )
        case.open, case.units = False, notice.units
        case.last_at_ms, case.last_seq = at_ms, seq

    def _count(self, key: Key, seq: int, at_ms: int, units: int | None, detail: str) -> None:
        case = self._cases.setdefault(key, Case(0, True, units, detail, at_ms, seq, at_ms, seq))
        if case.count == 0:
            case.first_at_ms, case.first_seq = at_ms, seq
        case.count += 1
        case.open, case.units, case.detail = True, units, detail
        case.last_at_ms, case.last_seq = at_ms, seq

    def rows(self) -> list[tuple[bytes, ...]]:
        return [
            (
                bigint(case.first_seq),
                bigint(case.last_seq),
                *map(text, key),
                text("open" if case.open else "settled"),
                bigint(case.units),
                text(case.detail),
                bigint(case.count),
                timestamp(case.first_at_ms),
                timestamp(case.last_at_ms),
                timestamp(None if case.open else case.last_at_ms),
            )
            for key, case in self._cases.items()
        ]


def key_of_park(park: Park) -> Key:
    """What cannot be applied is one exception by its reason, owner and subject."""
    return park.reason, park.owner, "", "", park.subject[:_REFERENCE_CHARACTERS]


def detail_of(park: Park) -> str:
    """Its detail, as far as it is kept."""
    return park.detail[:DETAIL_CHARACTERS]


def key_of_notice(notice: Notice) -> Key:
    """The exception that a notice opens, counts or settles."""
    reference = notice.reference[:_REFERENCE_CHARACTERS]
    return notice.kind, owner_of(notice.kind), notice.sku, notice.location, reference
