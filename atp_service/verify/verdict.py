"""The verdict of a verification: for people and for programs."""

from msgspec import Struct
from rich.table import Table

from atp_service.verify.findings import Check, Finding

SHOWN = 20

_CHECKS: dict[Check, str] = {
    "chain": "entries continue each other: seq, chain, digest, epoch, time",
    "images": "entries go on from those before: levels, reservations",
    "model": "entries are what their commands come to",
    "position": "the position is the last entry",
    "movements": "movements follow from the entries",
    "events": "events follow from the entries",
    "traces": "traces follow from the entries",
    "snapshot_lines": "lines of snapshots follow from the entries",
    "parked": "parked messages follow from the entries",
    "exceptions": "exceptions follow from the entries",
    "levels": "levels follow from the entries",
    "reservations": "reservations follow from the entries",
    "orders": "orders follow from the entries",
    "promises": "what levels promise is what reservations hold",
    "redis": "Redis has what the entries come to",
}


class Verdict(Struct, frozen=True, kw_only=True):
    """`holds` is whether nothing was found but what has been repaired since.

    `executed`: commands were executed once more. `first` is the first entry that does not hold, or
    another finding if no entry is named. `redis` is the number of values compared;
    `redis_not_compared` says why none were. `digest` is the state's (verify/state_digest.py).
    """

    holds: bool
    executed: bool
    entries: int
    through: dict[int, int]  # partition to seq
    rows: int
    redis: int
    redis_not_compared: str | None
    first: Finding | None
    found: int
    repaired: int
    by_check: dict[Check, int]
    findings: list[Finding]
    digest: str
    seconds: float
    entries_per_second: int


def table(verdict: Verdict) -> Table:
    """The verdict, check by check."""
    counted = {
        "chain": verdict.entries,
        "images": verdict.entries,
        "model": verdict.entries,
        "redis": verdict.redis,
    }
    lines = Table(
        title="[green]All holds[/]" if verdict.holds else "[red]Something does not hold[/]",
        title_justify="left",
    )
    lines.add_column("check")
    lines.add_column("", justify="right")
    lines.add_column("verdict")
    for check, words in _CHECKS.items():
        if check == ("images" if verdict.executed else "model"):
            continue
        count = counted.get(check)
        found = verdict.by_check.get(check, 0)
        words_found = f"[red]{found:,} do not[/]" if found else "[green]holds[/]"
        if found and check in ("images", "model") and verdict.repaired:
            words_found += f", {verdict.repaired:,} repaired since"
        if check == "redis" and verdict.redis_not_compared is not None:
            words_found = f"[yellow]not compared: {verdict.redis_not_compared}[/]"
        lines.add_row(words, "" if count is None else f"{count:,}", words_found)
    lines.add_section()
    lines.add_row("rows of projections", f"{verdict.rows:,}", "")
    lines.add_row("seconds", f"{verdict.seconds:,.1f}", f"{verdict.entries_per_second:,} entries/s")
    return lines


def in_a_line(finding: Finding) -> str:
    """A finding in a line."""
    repaired = finding.repaired_by
    return finding.detail + (f" [repaired by entry {repaired}]" if repaired is not None else "")


def shown(verdict: Verdict) -> list[str]:
    """The first findings, one a line; how many more there are."""
    lines = [in_a_line(finding) for finding in verdict.findings[:SHOWN]]
    if verdict.found > len(lines):
        lines.append(f"… and {verdict.found - len(lines):,} more")
    return lines
