"""`Call` in, `Answer` out: what each call gets and returns, and how times are written."""

from datetime import datetime
from functools import lru_cache
from time import gmtime, strftime
from typing import Annotated, Any

from msgspec import Meta, Struct

Headers = tuple[tuple[bytes, bytes], ...]

Timestamp = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, milliseconds",
        examples=["2026-11-23T10:00:00.000Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

JSON: Headers = ((b"content-type", b"application/json"),)
PROBLEM: Headers = ((b"content-type", b"application/problem+json"),)
REPLAYED: Headers = (*JSON, (b"idempotent-replayed", b"true"))


class Call(Struct, frozen=True, gc=False):
    """The headers of a request that the calls use."""

    request_id: str
    key: str | None = None
    traceparent: str | None = None


class Answer(Struct, frozen=True):
    """A status, a struct to encode, and headers with the content type first."""

    status: int
    content: Any
    headers: Headers = JSON


_MILLISECONDS = [f".{n:03d}Z" for n in range(1000)]


@lru_cache(4096)
def _second(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))


def timestamp(at_ms: int) -> str:
    """Unix milliseconds as RFC 3339."""
    return _second(at_ms // 1000) + _MILLISECONDS[at_ms % 1000]


def timestamp_or_none(at_ms: int) -> str | None:
    """As `timestamp`; 0 is no time."""
    return timestamp(at_ms) if at_ms else None


def timestamp_of(at: datetime) -> str:
    """As `timestamp`, of a moment as Postgres has it."""
    return timestamp(round(at.timestamp() * 1000))
