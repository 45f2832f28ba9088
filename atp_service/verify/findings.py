"""What does not hold: each thing once, with the entry to look at, in words."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

FINDINGS_KEPT = 1_000  # of a run; more are counted

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

    `seq` is the entry it was seen at. `subjects` are names of images (`l…`, `r…`, `o…`); an entry
    that has repaired all of them since is `repaired_by`.
    """

    check: Check
    detail: str
    seq: int | None = None
    subjects: tuple[str, ...] = ()
    repaired_by: int | None = None


class Findings(Struct):
    """Findings in the order in which they were made; the first many are kept."""

    kept: list[Finding] = []
    counts: dict[Check, int] = {}

    def add(
        self, check: Check, detail: str, seq: int | None = None, subjects: tuple[str, ...] = ()
    ) -> None:
        self.counts[check] = self.counts.get(check, 0) + 1
        if len(self.kept) < FINDINGS_KEPT:
            self.kept.append(Finding(check=check, detail=detail, seq=seq, subjects=subjects))

    def take(self, others: "Findings") -> None:
        """Those of somebody who looked elsewhere."""
        for check, count in others.counts.items():
            self.counts[check] = self.counts.get(check, 0) + count
        self.kept = (self.kept + others.kept)[:FINDINGS_KEPT]

    def mark_repaired(self, repairs: Mapping[str, int]) -> None:
        """`repairs` says of each image's name which entry repaired it last."""
        self.kept = [_repaired(finding, repairs) for finding in self.kept]

    @property
    def standing(self) -> int:
        """How many have not been repaired."""
        repaired = sum(finding.repaired_by is not None for finding in self.kept)
        return sum(self.counts.values()) - repaired


def _repaired(finding: Finding, repairs: Mapping[str, int]) -> Finding:
    later = [repairs.get(name, 0) for name in finding.subjects]
    if finding.check not in ("images", "model") or finding.seq is None:
        return finding
    if not later or min(later) <= finding.seq:
        return finding
    return msgspec.structs.replace(finding, repaired_by=max(later))
