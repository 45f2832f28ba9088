"""Names that the ledger is known to have, so that it is not asked for each of them twice."""

from collections.abc import Iterable
from typing import Final

MOST: Final = 4_000_000  # names; some 70 bytes each, while a run lasts


class NameSet:
    """Keeps names as hashes of 64 bits: no other name is ever taken for one of them."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._hashes: set[int] = set()

    def add(self, names: Iterable[str]) -> None:
        """Names beyond the most are not kept: the ledger is asked for those."""
        if len(self._hashes) < self._most:
            self._hashes.update(map(hash, names))

    def __contains__(self, name: str) -> bool:
        return hash(name) in self._hashes
