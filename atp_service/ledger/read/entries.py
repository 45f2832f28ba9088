"""Entries of the ledger, decoded."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from msgspec import DecodeError, structs

from atp_service.inventory.commands import AnyCommand, decode_command
from atp_service.inventory.journal import DecodedEntry, Entry, decode_entry, decode_images
from atp_service.ledger.ledger import Ledger

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

Place = tuple[int, int]  # partition, seq


class RecordedEntry(DecodedEntry, frozen=True, kw_only=True):
    """An entry of the ledger."""

    partition: int

    @property
    def reservation_ids(self) -> list[str]:
        """The reservations it names or touches; the one it names comes first."""
        named = [self.fields.reservation_id] if self.fields.reservation_id else []
        return list(dict.fromkeys([*named, *self.reservations]))

    @property
    def order_ids(self) -> list[str]:
        """The orders it names or touches, those of its reservations among them."""
        named = [self.fields.order_id, *self.orders]
        found = [*named, *(reservation.order_id for reservation in self.reservations.values())]
        return list(dict.fromkeys(filter(None, found)))


async def entries_at(ledger: Ledger, places: Collection[Place]) -> list[RecordedEntry]:
    """The entries at the places, in the order of time. Raises Unavailable, and msgspec's
    DecodeError if the head or an image of one can't be read."""
    rows = await ledger.rows(
        """
        SELECT partition, seq, command, head, images
        FROM entries
        JOIN unnest(%(partitions)s::integer[], %(seqs)s::bigint[]) AS asked (partition, seq)
            USING (partition, seq)
        """,
        {"partitions": [place[0] for place in places], "seqs": [place[1] for place in places]},
    )
    entries = [_recorded(*row) for row in rows]
    return sorted(entries, key=lambda e: (e.head.at_ms, e.partition, e.seq))


def milliseconds(at: datetime) -> int:
    """Unix milliseconds; the rest of a millisecond is left out."""
    return (at - EPOCH) // _MILLISECOND


def _recorded(
    partition: int, seq: int, command: bytes, head: bytes, images: bytes
) -> RecordedEntry:
    decoded = decode_entry(
        Entry(seq, command, head, "", decode_images(images)), _command_of(command)
    )
    return RecordedEntry(*structs.astuple(decoded), partition=partition)


def _command_of(command: bytes) -> AnyCommand | None:
    try:
        decoded: AnyCommand = decode_command(command)
    except DecodeError:
        return None
    return decoded
