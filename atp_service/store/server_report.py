"""The Redis server behind a partition: identity, durability, memory."""

from collections.abc import Sequence

from msgspec import Struct


class ServerReport(Struct, frozen=True):
    """Memory in bytes; `maxmemory` is 0 without a limit; `appendfsync` is off without a log."""

    run_id: str
    version: str
    appendfsync: str
    maxmemory_policy: str
    used_memory: int
    maxmemory: int
    seq: int
    recorded_backlog: int


def report_of(
    info: bytes, appendfsync: Sequence[bytes], seq: int, journal_length: int
) -> ServerReport:
    """The report from the replies to INFO, CONFIG GET appendfsync, and the journal's numbers."""
    fields = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    logged = fields.get("aof_enabled") == "1" and bool(appendfsync)
    return ServerReport(
        run_id=fields["run_id"],
        version=fields.get("valkey_version") or fields["redis_version"],
        appendfsync=appendfsync[1].decode() if logged else "off",
        maxmemory_policy=fields["maxmemory_policy"],
        used_memory=int(fields["used_memory"]),
        maxmemory=int(fields["maxmemory"]),
        seq=seq,
        recorded_backlog=max(0, journal_length - 1),
    )
