"""Findings: each thing that does not hold once, in words, with the entry to look at."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

_LISTED = 1_000  # of a run; more are counted

Check = Literal[
    "chain",
    "images",
    "model",
    "position",
    "movements",
    "events",
    "traces",
    "snapshot_lines",
    "parked",
    "exceptions",
    "levels",
    "reservations",
    "orders",
    "promises",
    "redis",
]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that does not hold.

    `seq` is the entry to look at. `subjects` are names of images (`l…`, `r…`, `o…`). `repaired_by`
    is the seq of a later entry that has repaired all of them.
    """

    check: Check
    detail: str
    seq: int | None = None
    subjects: tuple[str, ...] = ()
    repaired_by: int | None = None


class Findings(Struct):
    """Findings in the order in which they were made: the `first` 1,000, and how many of each
    check."""

    first: list[Finding] = []
    counts: dict[Check, int] = {}

    def add(
        self, check: Check, detail: str, seq: int | None = None, subjects: tuple[str, ...] = ()
    ) -> None:
        self.counts[check] = self.counts.get(check, 0) + 1
        if len(self.first) < _LISTED:
            self.first.append(Finding(check=check, detail=detail, seq=seq, subjects=subjects))

    def extend(self, others: "Findings") -> None:
        """Add the findings of another part of the run."""
        for check, count in others.counts.items():
            self.counts[check] = self.counts.get(check, 0) + count
        self.first = (self.first + others.first)[:_LISTED]

    def mark_repaired(self, repairs: Mapping[str, int]) -> None:
        """`repairs` has the seq of the last repair by an image's name."""
        self.first = [_repaired(finding, repairs) for finding in self.first]

    @property
    def standing(self) -> int:
        """How many have not been repaired."""
        repaired = sum(finding.repaired_by is not None for finding in self.first)
        return sum(self.counts.values()) - repaired


def _repaired(finding: Finding, repairs: Mapping[str, int]) -> Finding:
    later = [repairs.get(name, 0) for name in finding.subjects]
    if finding.check not in ("images", "model") or finding.seq is None:
        return finding
    if not later or min(later) <= finding.seq:
        return finding
    return msgspec.structs.replace(finding, repaired_by=max(later))
