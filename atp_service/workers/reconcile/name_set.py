"""Names the ledger was seen to have, so that it is not asked for each of them on the way back."""

from collections.abc import Iterable
from typing import Final

MOST: Final = 4_000_000  # names; some 70 bytes each, while a run lasts


class Known:
    """Remembers names by their hashes: of 64 bits, so that no stranger is ever taken for one."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._hashes: set[int] = set()

    def add(self, names: Iterable[str]) -> None:
        """Names beyond the most are not remembered: the ledger is asked for those."""
        if len(self._hashes) < self._most:
            self._hashes.update(map(hash, names))

    def __contains__(self, name: str) -> bool:
        return hash(name) in self._hashes
