"""A place in the ledger, as a value: what an outcome returns and what a caller waits for."""

from msgspec import Struct


class EntryRef(Struct, frozen=True, gc=False):
    """Entry `seq` of a partition, as the partition had it in this epoch.

    A later epoch continues an earlier one, so the entry itself may be older than the epoch. `seq`
    is 0 before the first entry.
    """

    partition: int
    epoch: int
    seq: int
